"""moto's S3 server for the conformance tests: `s3_server.py PORT locked` or `s3_server.py PORT racing`.

moto looks whether an object is there and creates it then, in threads, so that two creates of one name can both win.
`locked` lets one request in at a time, which makes it a store that a log can rest on. `racing` is moto as it is, with its
threads changed often, so that what happens now and then on a busy machine happens on any.
"""

import sys
import threading

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple

port, mode = int(sys.argv[1]), sys.argv[2]
moto = DomainDispatcherApplication(create_backend_app)
one_at_a_time = threading.Lock()


def locked(environ, start_response):
    with one_at_a_time:
        return [b"".join(moto(environ, start_response))]


if mode == "racing":
    sys.setswitchinterval(0.000001)
run_simple(
    "127.0.0.1",
    port,
    {"locked": locked, "racing": moto}[mode],
    threaded=True,
    request_handler=MotoRequestHandler,
)
