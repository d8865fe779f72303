"""python -m vae_lab.explore run=outputs/vae-mnist/...: the latent space of a run, live in the browser."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from vae_lab.cli import command
from vae_lab.settings import ExploreSettings


def explore(cfg: DictConfig) -> None:
    """Opens one or two runs, prints the address of the page, and serves it until Ctrl-C."""
    # Here and not above: --help and a wrong key must not wait for torch.
    from vae_lab.explorer.server import address_of, explorer_of, make_explorer_server  # noqa: PLC0415

    explored = command.settings_of(ExploreSettings, cfg)
    paths = [Path(path).expanduser() for path in (cfg.run, cfg.run2) if path]
    if len(paths) == 2 and paths[0].absolute() == paths[1].absolute():
        raise ValueError(f"run2={cfg.run2}: is run itself; name another")
    explorer, token = explorer_of(paths, explored)
    server = make_explorer_server(explorer, cfg.port)
    for problem in explorer.problems():
        print(f"warning: {problem}")
    print(f"open         {address_of(server, token)}", flush=True)
    print("for this machine alone; Ctrl-C ends it", flush=True)
    server.serve_forever()


def main() -> None:
    """Runs the command."""
    command.run(explore, "explore")


if __name__ == "__main__":
    main()
