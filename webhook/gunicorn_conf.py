"""How gunicorn serves the webhook: `gunicorn -c python:webhook.gunicorn_conf 'webhook.app:from_env()'`."""

from serving.gunicorn import configure_gunicorn

globals().update(
    configure_gunicorn("podtls-webhook", worker_class="serving.worker.WholeResponseWorker", graceful_timeout=20)
)
