"""Reads streams of HTTP/1.1 requests with a Python server's parser: one base64 line in, one line of JSON out."""
import base64
import json
import sys


def read_h11(stream):
    import h11

    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(stream)
    connection.receive_data(b"")
    requests = []
    length = 0
    current = None
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                current = [event.method.decode("latin1"), event.target.decode("latin1")]
                length = 0
            elif isinstance(event, h11.Data):
                length += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                requests.append([*current, length])
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    return requests
                connection.start_next_cycle()
            else:
                return requests
    except h11.ProtocolError as error:
        return [*requests, ["refused", str(error), 0]]


def read_gunicorn(stream):
    from gunicorn.config import Config
    from gunicorn.http.parser import RequestParser

    config = Config()
    config.set("limit_request_line", 0)
    config.set("limit_request_field_size", 0)
    config.set("limit_request_fields", 1000)
    requests = []
    try:
        for request in RequestParser(config, iter([stream]), ("127.0.0.1", 1)):
            requests.append([request.method, request.uri, len(request.body.read())])
    except Exception as error:  # Its refusals have no class in common.
        if isinstance(error, StopIteration):
            return requests
        return [*requests, ["refused", repr(error), 0]]
    return requests


read = {"h11": read_h11, "gunicorn": read_gunicorn}[sys.argv[1]]
for line in sys.stdin:
    print(json.dumps(read(base64.b64decode(line))), flush=True)
