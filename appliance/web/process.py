"""`python -m appliance.web.process PLAN`: the serving process itself, begun by `python -m appliance.web`."""

from __future__ import annotations

import json
import sys

from appliance.web.server import Plan, serve

if __name__ == "__main__":
    serve(Plan(**json.loads(sys.argv[1])))
