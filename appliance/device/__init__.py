"""What the box is made of and how it is: sensors ▶ health ▶ admission; doctor; sandbox.

Sensors come straight from sysfs and procfs (and one line of tegrastats for what only it tells); nothing here needs a
library, a daemon or root. Knows no queue, page or pipeline, except `doctor`, which looks at everything.
"""
