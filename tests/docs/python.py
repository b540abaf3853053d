"""Runs a file of Python that awaits outside of functions, as a notebook does.

usage: python.py FILE
"""
import ast
import asyncio
import inspect
import sys

code = compile(open(sys.argv[1]).read(), sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
made = eval(code, {"__name__": "example"})
if inspect.iscoroutine(made):
    asyncio.run(made)
