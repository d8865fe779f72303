"""python -m vae_lab.explore run=outputs/vae-mnist/...: the latent space of a run, live in the browser."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from vae_lab.cli import command


def explore(cfg: DictConfig) -> None:
    """Opens one or two runs, prints the address of the page, and serves it until Ctrl-C."""
    # Here and not above: --help and a wrong key must not wait for torch.
    from vae_lab.explorer.explored import Sources  # noqa: PLC0415
    from vae_lab.explorer.server import address_of, explorer_of, make_explorer_server  # noqa: PLC0415

    if cfg.num_examples < 1:
        raise ValueError(f"num_examples={cfg.num_examples}: must be at least 1")
    sources = Sources(cfg.weights, cfg.split, cfg.num_examples, cfg.data_root, tuple(cfg.packages))
    paths = [Path(path).expanduser() for path in (cfg.run, cfg.run2) if path]
    explorer, token = explorer_of(paths, sources)
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
