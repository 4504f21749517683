"""`python -m appliance` is `ensueno`."""

import sys

from appliance.cli import main

sys.exit(main())
