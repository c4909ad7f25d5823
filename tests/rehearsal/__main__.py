"""The stand-ins as programs, for containers: they listen on every interface.

python -m rehearsal x --name NAME --host x.example
python -m rehearsal grafana --x http://localhost:8080
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

STOPS = (signal.SIGTERM, signal.SIGINT)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line's settings."""
    parser = argparse.ArgumentParser(prog="rehearsal", description="Stand-ins for X, Grafana and its renderer.")
    stand_ins = parser.add_subparsers(dest="stand_in", required=True)
    keys = "the keys it takes are in the environment: consumer_key ... access_token_secret, bearer_token"
    x = stand_ins.add_parser("x", help="X's API behind TLS, and a profile page", epilog=keys)
    x.add_argument("--name", default="NAME", help="the account's name, or several with commas (default: NAME)")
    x.add_argument("--host", nargs="+", default=[], help="names and addresses that the certificate is good for")
    x.add_argument("--tls-port", type=int, default=8443, help="the API's port (default: 8443)")
    x.add_argument("--page-port", type=int, default=8080, help="the page's port (default: 8080)")
    x.add_argument("--ca-config-map", metavar="NAMESPACE/NAME", help="in a pod: write the CA there, as ca.crt")
    grafana = stand_ins.add_parser("grafana", help="Grafana's panel, dashboard API and data source proxy")
    grafana.add_argument("--port", type=int, default=3000, help="default: 3000")
    source = grafana.add_mutually_exclusive_group(required=True)
    source.add_argument("--x", metavar="URL", help="draw the history of the stand-in X whose page is there")
    source.add_argument("--prometheus", metavar="URL", help="draw what this Prometheus knows")
    source.add_argument("--provisioned", type=Path, metavar="FILE", help="draw what the data sources in it know")
    grafana.add_argument("--data-source", metavar="UID", default="P1809F7CD0C75ACF3", help="default: kube-prometheus'")
    grafana.add_argument("--password", help="let nobody in but the user admin with this password")
    grafana.add_argument("--token", help="let nobody in but who has this service account's token")
    settings = "in the environment: AUTH_TOKEN, RATE_LIMIT_MAX_LIMIT; RENDER_SECONDS of CPU, 0 if not said"
    renderer = stand_ins.add_parser("renderer", help="Grafana's image renderer", epilog=settings)
    renderer.add_argument("--port", type=int, default=8081, help="default: 8081")
    history = stand_ins.add_parser("history", help="writes an account's past as OpenMetrics, for promtool")
    history.add_argument("--name", default="NAME", help="the account's name (default: NAME)")
    history.add_argument("--days", type=int, default=30, help="how far it goes back (default: 30)")
    history.add_argument("file", type=Path, help="the file that is written")
    return parser.parse_args(argv)


async def until_stopped(ready: str) -> None:
    """Says that it is ready, and waits for SIGTERM or Ctrl-C."""
    told = asyncio.Event()
    for number in STOPS:  # asyncio hears of it from any thread; a lock would wait on where another thread took it
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    print(ready, flush=True)
    await told.wait()


def main(argv: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM or Ctrl-C."""
    for number in STOPS:
        signal.signal(number, lambda *_: sys.exit(0))  # a container's first process has no handler but its own
    settings = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    if settings.stand_in == "x":
        from rehearsal.x import X, write_ca_config_map

        ports = {"tls_port": settings.tls_port, "page_port": settings.page_port}
        x = X(settings.name, hosts=settings.host, bind="0.0.0.0", keys=os.environ, **ports)  # noqa: S104 - a container
        if settings.ca_config_map:  # before it listens: who starts once it is ready reads this one, no earlier one
            write_ca_config_map(x.ca_pem, *settings.ca_config_map.split("/"))
        with x:
            asyncio.run(until_stopped(f"X's API at https://{x.host}, the profile at {x.page}/{x.name}"))
    elif settings.stand_in == "renderer":
        from rehearsal.renderer import Renderer

        seconds, at_once = (
            float(os.environ.get("RENDER_SECONDS", "0")),
            int(os.environ.get("RATE_LIMIT_MAX_LIMIT", "3")),
        )
        asked = {"seconds": seconds, "at_once": at_once, "port": settings.port}
        with Renderer(os.environ["AUTH_TOKEN"], bind="0.0.0.0", **asked) as renderer:  # noqa: S104 - a container
            asyncio.run(until_stopped(f"the renderer at {renderer.url}"))
    elif settings.stand_in == "history":
        from rehearsal.history import open_metrics
        from rehearsal.x import youth

        now = time.time()
        lines = open_metrics(settings.name, now, settings.days, youth(now)[-1][1])
        settings.file.write_text("".join(f"{line}\n" for line in lines))
    else:
        from rehearsal.grafana import Grafana, Link, provisioned

        names = [f"GF_RENDERING_{name}" for name in ("SERVER_URL", "CALLBACK_URL", "RENDERER_TOKEN")]
        link = Link(*(os.environ[name] for name in names)) if names[0] in os.environ else None
        asked = {
            name: getattr(settings, name) for name in ("x", "prometheus", "data_source", "password", "token", "port")
        }
        sources = provisioned(settings.provisioned.read_text()) if settings.provisioned else None
        with Grafana(bind="0.0.0.0", link=link, data_sources=sources, **asked) as grafana:  # noqa: S104 - a container
            asyncio.run(until_stopped(f"Grafana at {grafana.url}"))


if __name__ == "__main__":
    main()
