"""Runs handler(event, context) from a module and hands its result back on descriptor 3.

argv: this file, the module's file, the event's file, and a JSON object for the context.
What is handed back is one JSON object: {"value": ...} or {"error": {"name", "message", "stack"}}.
"""
import importlib.util
import inspect
import json
import logging
import os
import sys
import time
import traceback

RESULT_FD = 3
# Of a message or a trace; what is longer helps nobody, and the whole result has 8 MiB.
LONGEST_TEXT = 200_000


class Context:
    """What a handler may know of the execution it is."""

    def __init__(self, facts):
        self.execution_id = facts["execution_id"]
        self.memory_limit_bytes = facts["memory_limit_bytes"]
        self.memory_limit_in_mb = facts["memory_limit_bytes"] // (1024 * 1024)
        self.timeout_ms = facts["timeout_ms"]
        self.deadline_ms = int(time.time() * 1000) + facts["timeout_ms"]
        self.logger = logging.getLogger("handler")
        self._end = time.monotonic() + facts["timeout_ms"] / 1000

    def remaining_time_ms(self):
        """Milliseconds until the timeout, never negative."""
        return max(0, int((self._end - time.monotonic()) * 1000))

    # The name that handlers written for other platforms call.
    get_remaining_time_in_millis = remaining_time_ms


def encode(outcome):
    try:
        return json.dumps(outcome, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:
        # Half a surrogate pair has no UTF-8, but an escape.
        return json.dumps(outcome, allow_nan=False).encode()


def hand_back(outcome):
    try:
        data = encode(outcome)
    except (TypeError, ValueError, RecursionError) as error:
        message = "the handler's result is not JSON: %s" % error
        outcome = {"error": {"name": "ResultNotJson", "message": message, "stack": ""}}
        data = encode(outcome)
    view = memoryview(data)
    while view:
        view = view[os.write(RESULT_FD, view):]
    os.close(RESULT_FD)
    return 1 if "error" in outcome else 0


def whole(text):
    """Without halves of surrogate pairs, which no UTF-8 has."""
    return text.encode("utf-8", "backslashreplace").decode()


def text_of(error):
    try:
        return whole(str(error)[:LONGEST_TEXT])
    except Exception:  # its own __str__ raises
        return "an error that cannot be shown as text"


def failure(error):
    # The frames of this file are not the user's.
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    stack = whole("".join(traceback.format_exception(type(error), error, trace)))
    sys.stderr.write(stack)
    return {"error": {"name": whole(type(error).__name__), "message": text_of(error), "stack": stack[-LONGEST_TEXT:]}}


def load(path):
    spec = importlib.util.spec_from_file_location("handler_module", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["handler_module"] = module
    spec.loader.exec_module(module)
    function = getattr(module, "handler", None)
    if not callable(function):
        raise NameError("the code defines no function handler(event, context)")
    return function


async def wait_for(awaitable):
    return await awaitable


def main():
    os.set_inheritable(RESULT_FD, False)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    code, event_file, facts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    sys.argv = [code]
    try:
        with open(event_file, encoding="utf-8") as file:
            event = json.load(file)
        result = load(code)(event, Context(facts))
        if inspect.isawaitable(result):
            # Here alone, since it takes longer to import than most handlers to run.
            import asyncio

            result = asyncio.run(wait_for(result))
        outcome = {"value": result}
    except Exception as error:  # what the handler raises is its result
        outcome = failure(error)
    sys.stdout.flush()
    return hand_back(outcome)


sys.exit(main())
