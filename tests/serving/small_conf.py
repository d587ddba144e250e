"""gunicorn's configuration of tests/serving/small_app.py, as a program of ours has it."""

from serving.gunicorn import configure_gunicorn

globals().update(configure_gunicorn("small", worker_class="serving.worker.WholeResponseWorker", graceful_timeout=5))
