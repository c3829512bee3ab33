"""Parser of the command line: commands, options, and an example of each. `main` runs them."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from bitrix24_directories import __version__
from bitrix24_directories.text import LIKE_A_WEBHOOK

from .client_files import CLIENTS

_FAULTS = (
    "answer this error code or HTTP status; lost:502, lost:cut, ... make changes and lose the answer; error-after, "
    "sql-error-after fail after the change; moved-back, channel, no-total let others act; bomb, drip, echo, wait, "
    "moved:ADDRESS mean harm"
)
_OF_PEOPLE = {
    "add": "let somebody in; prints their token, once",
    "import": "let all people of a CSV in, or nobody; writes their tokens to a file",
    "list": "print who may call, what they may do, and when they were created and last seen",
    "remove": "let somebody in no more",
    "rotate": "give somebody another token, in place of theirs; prints it, once",
    "scopes": "let somebody change directories, or read alone; their token stays",
    "webhook": "let somebody act with another webhook; their token stays",
}
_WEBHOOK_FILE = (
    "holds the URL of their own inbound webhook, which is tried once (-: standard input); without it they read through "
    "the shared one"
)
_UNCHECKED = "take a webhook untried, even one that the portal refuses"
_WRITE = "let them change directories and merge codes"
_PROGRAM = "bitrix24-directories-mcp"


class UsageError(Exception):
    """A command line that asks for something that does not exist."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; the default command is `serve`."""
    # A subcommand's defaults would override the options before it, so subcommands have none.
    shared = _shared_options(argument_default=argparse.SUPPRESS)
    settings = shared[:1]
    whole = _Parser(
        prog=_PROGRAM,
        description="MCP server for the directories of a Bitrix24 CRM. Without a command it serves MCP over stdio.",
        parents=_shared_options(),
        **_example("check", "setup cursor --write", "call get_directory_items entityId=DEAL_STAGE --demo"),
    )
    whole.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subcommands = whole.add_subparsers(metavar="command", dest="command")
    whole.set_defaults(command="serve", http=None)

    def command(name: str, text: str, *examples: str, **more: Any) -> argparse.ArgumentParser:
        return subcommands.add_parser(
            name, help=text, description=f"{text[:1].upper()}{text[1:]}.", **_example(*examples), **more
        )

    serve = command(
        "serve",
        "serve MCP over stdio (the default), or a team over HTTP",
        "serve --env-file portal.env",
        "serve --http 8080",
        parents=shared,
    )
    serve.add_argument(
        "--http", metavar="[HOST:]PORT", help="serve over HTTP instead, on this machine alone unless a host is named"
    )

    call = command(
        "call",
        "call a tool and print what an assistant would get",
        "call --list",
        "call get_directory_items entityId=DEAL_STAGE details=true",
        """call find_directory_items queries='["won", "cold call"]' entityIds=DEAL_STAGE,SOURCE""",
        parents=shared,
    )
    call.add_argument("tool", nargs="?")
    call.add_argument("arguments", nargs="*", metavar="key=value", help="a list is JSON, or one text a line")
    call.add_argument("--list", action="store_true", help="print the tools and their arguments")
    call.add_argument("--json", action="store_true", help="print the structured result instead of the text")

    command("check", "say whether the configuration works, and what to do where it does not", "check", parents=shared)
    login = command(
        "login", "authorise an application (OAuth) in a browser and keep its tokens", "login", parents=settings
    )
    login.add_argument("--person", metavar="NAME", default="", help="keep them for this person of a team alone")

    setup = command(
        "setup",
        "print the configuration for an MCP client, or write it into the client's file",
        "setup claude",
        "setup cursor --write",
        "setup cursor --remove",
        parents=settings,
    )
    setup.add_argument("client", choices=CLIENTS)
    action = setup.add_mutually_exclusive_group()
    action.add_argument(
        "--write", action="store_true", help="check the portal, then put it into the client's file; a backup is kept"
    )
    action.add_argument("--remove", action="store_true", help="take it out of the client's file; a backup is kept")
    setup.add_argument("--demo", action="store_true", help="let the client use the demo portal: no webhook is needed")

    report = command(
        "report",
        "count who carries which code; exits 2 where counting failed, else 1 where a record holds an unknown one",
        "report",
        "report SOURCE lead.SOURCE_ID --csv",
        "report --html report.html",
        parents=shared,
    )
    report.add_argument("entity_ids", nargs="*", metavar="entityId", help="a directory or a field; all without any")
    shape = report.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON instead of tables")
    shape.add_argument("--csv", action="store_true", help="print a row for each code in each field")
    shape.add_argument("--html", metavar="FILE", help="write one HTML file, the stages as bars in their colours")

    merge = command(
        "merge",
        "make several codes of a directory one: move the records that carry them, then delete the items",
        "merge SOURCE UC_WEB2 website --into WEB --log merge.jsonl",
        parents=shared,
    )
    merge.add_argument("entity_id", metavar="entityId", help="the directory")
    merge.add_argument(
        "codes", nargs="+", metavar="code", help="a code that is to go, of the directory or unknown to it"
    )
    merge.add_argument("--into", required=True, metavar="CODE", help="the item whose code the records get")
    merge.add_argument("--log", metavar="FILE", help="write down each record here, for undo (or BITRIX24_AUDIT_LOG)")
    merge.add_argument("--yes", action="store_true", help="carry it out without asking")

    undo = command(
        "undo",
        "take a merge back by its log: what still carries the new code gets its old one again",
        "undo merge.jsonl",
        parents=shared,
    )
    undo.add_argument("file", metavar="FILE", help="the log of the merge")
    undo.add_argument("--merge", metavar="ID", help="which merge, where the log holds several")
    undo.add_argument("--yes", action="store_true", help="carry it out without asking")

    person = command(
        "person",
        "keep the file of people who may call a team's server (BITRIX24_PEOPLE)",
        "person add anna --webhook-file webhook.txt --write",
        "person webhook anna --webhook-file -",
        "person import people.csv --tokens tokens.csv",
    )
    actions = person.add_subparsers(metavar="what", dest="what", required=True)
    people: dict[str, argparse.ArgumentParser] = {}
    for name, text in _OF_PEOPLE.items():
        description = f"{text[:1].upper()}{text[1:]}."
        people[name] = actions.add_parser(name, help=text, description=description, parents=settings)
        if name not in ("list", "import"):
            people[name].add_argument("name")
    for name in ("add", "webhook"):
        people[name].add_argument("--webhook-file", metavar="FILE", required=name == "webhook", help=_WEBHOOK_FILE)
    for name in ("add", "webhook", "import"):
        people[name].add_argument("--unchecked", action="store_true", help=_UNCHECKED)
    people["add"].add_argument(
        "--oauth", action="store_true", help="they act through the application: run `login --person NAME` too"
    )
    people["add"].add_argument("--write", action="store_true", help=_WRITE)
    rights = people["scopes"].add_mutually_exclusive_group(required=True)
    rights.add_argument("--write", action="store_true", help=_WRITE)
    rights.add_argument("--read-only", action="store_true", help="let them read, count and check alone")
    people["import"].add_argument(
        "file", metavar="people.csv", help="a line for each with the columns name,webhook,write (yes or no)"
    )
    people["import"].add_argument(
        "--tokens", metavar="tokens.csv", required=True, help="a new file that name,token is written to, for you only"
    )

    portal = command("portal", "run the demo portal for others to develop against", "portal --port 8024 --lang ru")
    portal.add_argument("--port", type=_port_number, default=8024, help="0: a free one (%(default)s)")
    portal.add_argument("--lang", choices=["en", "ru"], default="en")
    portal.add_argument("--fault", metavar="CODE", help=_FAULTS)
    portal.add_argument(
        "--age",
        choices=["today", "older", "oldest"],
        default="today",
        help="how old the portal's server code is: a record's wrong stage is never an error, refused unless the "
        "pipeline changes too, or always refused; docs/PORTAL.md has the rest (%(default)s)",
    )
    portal.add_argument("--limit", action="store_true", help="enforce the request limit (burst 50, 2 a second)")
    portal.add_argument("--certfile", help="serve TLS with this certificate")
    portal.add_argument("--keyfile")
    return whole


class _Parser(argparse.ArgumentParser):
    """Parser whose error messages repeat no URL: it may be a webhook's."""

    def error(self, message: str) -> NoReturn:
        super().error(LIKE_A_WEBHOOK.sub("…", message))


def _example(*commands: str) -> dict[str, Any]:
    lines = "\n".join(f"  {_PROGRAM} {command}" for command in commands)
    heading = "examples" if len(commands) > 1 else "example"
    return {"epilog": f"{heading}:\n{lines}", "formatter_class": argparse.RawDescriptionHelpFormatter}


def _shared_options(argument_default: str | None = None) -> list[argparse.ArgumentParser]:
    """Options of several commands: the settings, then the demo portal."""
    settings = argparse.ArgumentParser(add_help=False, argument_default=argument_default)
    settings.add_argument(
        "--env-file",
        metavar="FILE",
        help="read BITRIX24_ settings from this file too (or name it in BITRIX24_ENV_FILE); no other is ever read",
    )
    demo = argparse.ArgumentParser(add_help=False, argument_default=argument_default)
    demo.add_argument("--demo", action="store_true", help="use the demo portal inside this process: no network")
    demo.add_argument("--lang", choices=["en", "ru"], help="language of the demo portal (en)")
    demo.add_argument("--fault", metavar="CODE", help=f"for the demo portal: {_FAULTS}")
    return [settings, demo]


def _port_number(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("it must be a number from 0 to 65535")
    return int(text)
