"""How gunicorn serves the CA: `gunicorn -c python:ca.gunicorn_conf 'ca.api.app:from_env()'`.

Signing scales by processes; a few threads in each let one request wait for the API server while another is signed.
"""

from serving.gunicorn import configure_gunicorn

# A request may wait for the API server: let it end, within the pod's termination grace period.
globals().update(configure_gunicorn("podtls-ca", worker_class="gthread", graceful_timeout=25))
