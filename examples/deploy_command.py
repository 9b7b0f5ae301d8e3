"""Carries out holdfast's actions as a command, and reports what hosts have: `deployer.command.run` names it.

`HOLDFAST_API` and the like would be kept from it, as holdfast's own variables are: so API and STATE are its arguments,
and a token is in the variable DEPLOY_TOKEN. Put your own distribution in the place of `apply` in `deploy_receiver.py`.
"""

import fcntl
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from deploy_receiver import Hosts, report


def main() -> int:
    """Do one action; an exit status of 0 says that it is done."""
    api, state = sys.argv[1], Path(sys.argv[2])
    order = json.load(sys.stdin)
    with state.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # actions of several rollouts may be under way at once
        hosts = Hosts(state)
        report(api, os.environ.get("DEPLOY_TOKEN"), hosts.reports(hosts.take(order)))
    sys.stdout.write(f"{order['rollout']}: {order['action']} {order['number']}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
