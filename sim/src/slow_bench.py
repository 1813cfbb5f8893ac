"""moto's S3 server with what a folder holds in its bucket, and slow: FOLDER ADDRESS PORT REQUEST_MS PAGE_MS.

A lock lets one request in at a time, without which moto now and then lets two creates of one object win. The time that a
request is made to take passes before that, so that many may be under way.
"""

import io
import os
import sys
import threading
import time

from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

folder, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
request_s, page_s = (int(ms) / 1000 for ms in sys.argv[4:6])
moto, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()
bucket = s3_backends["123456789012"]["aws"]
bucket.create_bucket("bucket", "us-east-1")
for where, _, names in os.walk(folder):
    for name in names:
        path = os.path.join(where, name)
        with open(path, "rb") as file:
            bucket.put_object("bucket", "realm/" + os.path.relpath(path, folder), file.read())


def slow(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
    time.sleep(page_s if "list-type=2" in environ["QUERY_STRING"] else request_s)
    with lock:
        return [b"".join(moto(environ, start_response))]


run_simple(address, port, slow, threaded=True)
