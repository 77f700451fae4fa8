"""Hooks of schemathesis: a stream does not end by itself, so it is asked to end where it is now."""

import schemathesis

READ = {"/streams", "/streams/{name}"}


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.method != "GET":
        return
    query = dict(case.query or {})
    if case.path in READ and (case.path != "/streams" or "stream" in query):
        query["follow"] = "false"
    if case.path == "/streams/{name}/poll":
        query["wait"] = "1ms"
    case.query = query
