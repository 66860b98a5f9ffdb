# MLflow with a login, for PostgreSQL and S3, in the versions that the tests use.
FROM python:3.11-slim
COPY requirements.txt requirements-remote.txt /tmp/
# Both files pin more than a server needs: they only constrain the versions here. A `-r` line within a constraints file
# would install all that it names.
RUN grep -v '^-r' /tmp/requirements-remote.txt > /tmp/pins.txt \
    && pip install --no-cache-dir --constraint /tmp/requirements.txt --constraint /tmp/pins.txt \
    'mlflow[auth]' 'psycopg[binary]' boto3
