"""The group of verbs: their names, exit codes, and errors as one sentence instead of a traceback. Used by `cli` alone."""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn

import click

from controller import __version__
from controller.model.errors import DroverError
from controller.settings import SettingsError

WRONG_USAGE = 64
"""EX_USAGE of sysexits.h."""
INTERRUPTED = 130

VERBS: Mapping[str, str] = MappingProxyType(
    {
        "demo": "Play a drain and the way back on a simulated cluster.",
        "run": "Run the daemon.",
        "plan": "Show what would be moved, and why.",
        "explain": "Show why a guest is where it is, or goes where it goes.",
        "preflight": "Show everything that speaks against a move.",
        "status": "Show how everything stands.",
        "get": "List objects of a kind, or guests, migrations, plans.",
        "describe": "Show one object with conditions and events.",
        "events": "Show what happened.",
        "drift": "Show what people changed by hand.",
        "drain": "Empty a node now, without the repository.",
        "uncordon": "Put a node back in service, without the repository.",
        "wait": "Wait until an object has a condition.",
        "notify": "Try a sink of notifications.",
        "validate": "Check manifests without a cluster.",
        "approve": "Release exactly the plan of a digest.",
        "confirm": "Let deletions happen that wait for it.",
        "look": "Look at every cluster now.",
        "export": "Write manifests for a cluster as it is.",
        "rights": "Print what gives Drover its rights in a cluster.",
        "explain-field": "Show what a field of a manifest means.",
        "explain-schedule": "Show when a replication schedule runs.",
        "schema": "Write CRDs, JSON Schemas and reference pages.",
        "simulate": "Serve a simulated cluster.",
        "snapshot": "Write what the daemon sees of a cluster to a file, to plan on it.",
        "record": "Write a real cluster down for simulation, without secrets.",
        "version": "Print the version.",
    }
)
"""Every verb, in the order of the help, with what it does."""


class Verbs(click.Group):
    """Imports a verb's module when it is used, and turns what goes wrong into one sentence and an exit code."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The names of the verbs."""
        return list(VERBS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb: `command` of the module of its name."""
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"controller.cli.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help; written from here, so that it costs no imports."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def main(  # type: ignore[override]  # click's overloads tell return types apart that never return here
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: object
    ) -> NoReturn:
        """Run and exit: 0 and the verbs' own codes, 1 for errors, 64 for wrong usage, 130 for Ctrl-C."""
        try:
            code = super().main(args, prog_name or "drover", **{**extra, "standalone_mode": False})  # type: ignore[call-overload]  # ditto
        except click.UsageError as error:
            error.show()
            code = WRONG_USAGE
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except (SettingsError, DroverError) as error:
            click.echo(f"Error: {error}", err=True)
            code = 1
        except (click.Abort, KeyboardInterrupt):
            code = INTERRUPTED
        except BrokenPipeError:
            # Whoever read our output has seen enough; Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 0
        sys.exit(code if isinstance(code, int) else 0)


_HELP = """Drover keeps Proxmox VE clusters the way a folder of manifests says.

\b
To look first:    drover demo
Your own cluster: drover rights, then drover plan MANIFESTS
Completion:       eval "$(_DROVER_COMPLETE=bash_source drover)"  (or zsh_source, fish_source)
"""


@click.group(
    help=_HELP,
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="drover", message="%(prog)s %(version)s")
@click.pass_context
def drover(ctx: click.Context) -> None:
    """Without a verb: the help."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
