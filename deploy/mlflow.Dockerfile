# MLflow with a login, for PostgreSQL and S3, in the versions that the tests use.
FROM python:3.11-slim
COPY requirements.txt requirements-remote.txt /tmp/
# requirements.txt pins more than a server needs: it only constrains the versions here
RUN pip install --no-cache-dir --constraint /tmp/requirements-remote.txt 'mlflow[auth]' 'psycopg[binary]' boto3
