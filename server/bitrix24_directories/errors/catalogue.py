"""Catalogue of all failures between this program and a portal, as a table.

Code -> what happened | what to do next | who can fix it | whether a retry helps. Codes are Bitrix24's own if it has
one; the others are named here. Texts say "the user": an assistant reads them, acts itself if it can and tells its user
if it cannot. Imports nothing of this package.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Category = Literal["input", "configuration", "authorization", "limit", "portal", "network"]


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One row: `retry_after` is in seconds; `retryable` without it means soon.

    A `quoted` row shows the portal's own message. `category` is None only if nobody but this product's authors can fix
    the failure. `again` replaces the usual last line on trying again. `person` is `agent_hint` for a person at a
    terminal; if it is empty, `agent_hint` without its "Tell the user to" is used. `team` is `agent_hint` on a team's
    server, where people have webhooks of their own, which the server's administrator installs.
    """

    happened: str
    agent_hint: str
    category: Category | None
    retryable: bool = False
    retry_after: int | None = None
    quoted: bool = False
    again: str = ""
    person: str = ""
    team: str = ""

    @property
    def user_hint(self) -> str:
        """Next step for a person in a terminal."""
        hint = self.person or self.agent_hint.removeprefix(KEEPER)
        hint = hint.removeprefix("Tell the user to ").removeprefix("Tell the user that ")
        return hint[:1].upper() + hint[1:]

    @property
    def of_a_team(self) -> ErrorKind:
        """This row in the words of a team's server."""
        hint = self.team
        if not hint and _ADDRESS in self.agent_hint:
            hint = self.agent_hint.replace("Tell the user to ", KEEPER).replace(_ADDRESS, _TEAMS_ADDRESS)
        return replace(self, agent_hint=hint, person="", team="") if hint else self


KEEPER = "Tell the user to ask the administrator of this server to "

_NEW_WEBHOOK = (
    "Tell the user to open Bitrix24 > Applications > Developer resources > Ready-made scenarios > Other > Incoming "
    "webhook, create a webhook with the CRM (crm) permission, put its URL into BITRIX24_WEBHOOK_URL and restart this "
    "server."
)
_PUT_IN = "let the administrator of this server put its URL in with `bitrix24-directories-mcp person webhook NAME`"
_TEAMS_WEBHOOK = (
    "Tell the user to open Bitrix24 > Applications > Developer resources > Ready-made scenarios > Other > Incoming "
    f"webhook, create a webhook with the CRM (crm) permission, and {_PUT_IN}."
)
_ADMIN = "Tell the user to ask the administrator of the Bitrix24 portal"
_LATER = "Call the same tool again once; if it fails again, tell the user that the portal has trouble."
_LATER_PERSON = "Try again in a minute; if it fails again, the portal has trouble."

_ADDRESS = "BITRIX24_WEBHOOK_URL (or BITRIX24_PORTAL_URL)"
_TEAMS_ADDRESS = (
    "the person's webhook (`bitrix24-directories-mcp person list` shows it; with an application: BITRIX24_PORTAL_URL)"
)
_LOGIN = "Tell the user to run `bitrix24-directories-mcp login` with the same BITRIX24_ settings, and authorise again."
_TEAMS_LOGIN = f"{KEEPER}run `bitrix24-directories-mcp login --person NAME`, and authorise again."

CATALOGUE: dict[str, ErrorKind] = {
    # Limits
    "QUERY_LIMIT_EXCEEDED": ErrorKind(
        "The portal got too many requests in a short time",
        "Wait, then make the same call again, one call at a time.",
        "limit", retryable=True, retry_after=2,
        person="Wait a few seconds and try again; other programs may be using up the portal's limit.",
    ),
    "OPERATION_TIME_LIMIT": ErrorKind(
        "This REST method has used up its running time for 10 minutes; other methods still work",
        "Go on with other work and make this call again later.",
        "limit", retryable=True, retry_after=600,
        person="Try again in ten minutes.",
    ),
    "OVERLOAD_LIMIT": ErrorKind(
        "Bitrix24 has blocked REST on this portal because of overload",
        "Tell the user that only Bitrix24's support can lift this block.",
        "limit",
    ),
    "TOO_MANY_REQUESTS": ErrorKind(
        "The portal or a proxy before it got too many requests",
        "Wait, then make the same call again.",
        "limit", retryable=True, retry_after=10, quoted=True,
        person="Wait a little and try again.",
    ),
    # The caller and its rights
    "NO_AUTH_FOUND": ErrorKind(
        "The portal does not know this webhook or token: its code is wrong, or it was deleted, switched off or has "
        "expired",
        f"{_NEW_WEBHOOK} With an application, run `bitrix24-directories-mcp login` instead.",
        "authorization",
        team=f"{_TEAMS_WEBHOOK} With an application, `bitrix24-directories-mcp login --person NAME` is run instead.",
    ),
    "CONNECTION_ERROR": ErrorKind(
        "The portal could not reach the authorization server, so it could not check who calls",
        "Wait, then make the same call again; if it fails again, tell the user that the portal cannot reach the "
        "authorization server.",
        "portal", retryable=True, retry_after=30, quoted=True,
        person="Try again in a minute; if it fails again, the portal cannot reach the authorization server.",
    ),
    "expired_token": ErrorKind(
        "The access token has expired, and renewing it did not help",
        _LOGIN, "authorization", team=_TEAMS_LOGIN,
    ),
    "invalid_token": ErrorKind(
        "The portal does not know this access token, and renewing it did not help",
        _LOGIN, "authorization", team=_TEAMS_LOGIN,
    ),
    "ERROR_OAUTH": ErrorKind(
        "The portal refused the authorisation", _LOGIN, "authorization", quoted=True, team=_TEAMS_LOGIN
    ),
    "APPLICATION_NOT_FOUND": ErrorKind(
        "The application is not installed on this portal", f"{_ADMIN} to install the application again.",
        "authorization",
    ),
    "AUTHORIZATION_ERROR": ErrorKind(
        "The portal could not authorise the caller; its user may be deactivated or not yet active",
        _NEW_WEBHOOK,
        "authorization", quoted=True, team=_TEAMS_WEBHOOK,
    ),
    "PAYMENT_REQUIRED": ErrorKind(
        "The portal's or the application's subscription is over", f"{_ADMIN} to renew the subscription.",
        "authorization",
    ),
    "WRONG_LICENSE": ErrorKind(
        "The portal's plan or licence does not include this", f"{_ADMIN} to extend the plan or the licence.",
        "authorization", quoted=True,
    ),
    "METHOD_CONFIRM_WAITING": ErrorKind(
        "An administrator has to confirm this call on the portal first",
        f"{_ADMIN} to confirm it (a notification waits there), then make the same call again.",
        "authorization",
        person="Ask the portal's administrator to confirm it (a notification waits there), then try again.",
    ),
    "METHOD_CONFIRM_DENIED": ErrorKind(
        "An administrator refused this call on the portal",
        f"{_ADMIN} why it was refused.",
        "authorization",
    ),
    "ACCESS_DENIED": ErrorKind(
        "The portal does not allow REST: it needs a commercial plan, or the caller lacks rights",
        f"{_ADMIN} whether the plan includes REST (Market subscription) and whether the webhook's user may use CRM.",
        "authorization", quoted=True,
    ),
    "CRM_ACCESS_DENIED": ErrorKind(
        "The webhook's user has no right to do this in CRM",
        f"{_ADMIN} to give that user the CRM rights (reading needs read access to some CRM object), or to use the "
        "webhook of a user who has them.",
        "authorization",
    ),
    "INVALID_CREDENTIALS": ErrorKind(
        "The webhook's or token's user lacks the rights for this call",
        f"{_ADMIN} to give that user access to CRM.",
        "authorization", quoted=True,
    ),
    "insufficient_scope": ErrorKind(
        "The webhook or application has no permission for CRM (scope crm)",
        "Tell the user to open the webhook's page in Bitrix24 (under Applications > Developer resources; its address "
        "ends in /devops/edit/in-hook/ and a number), add the CRM (crm) permission and save. The URL stays the same "
        "only if the webhook's owner does this: if an administrator edits somebody else's webhook, the administrator "
        "becomes its owner and its secret is renewed, so put the new URL into BITRIX24_WEBHOOK_URL. With an "
        "application, add the permission in its settings.",
        "authorization",
        team="Tell the user to open the webhook's page in Bitrix24 (under Applications > Developer resources; its "
        "address ends in /devops/edit/in-hook/ and a number), add the CRM (crm) permission and save. The URL stays the "
        "same only if the webhook's owner does this: if an administrator edits somebody else's webhook, the "
        f"administrator becomes its owner and its secret is renewed; then {_PUT_IN}. With an application, add the "
        "permission in its settings.",
    ),
    "user_access_error": ErrorKind(
        "The administrator has not given this user access to the application",
        f"{_ADMIN} to open the application to this user.",
        "authorization",
    ),
    "allowed_only_intranet_user": ErrorKind(
        "The webhook belongs to an extranet user, who may not call this",
        "Tell the user to use the webhook of an employee of the portal.",
        "authorization",
    ),
    "WRONG_AUTH_TYPE": ErrorKind(
        "This method refuses this kind of authorisation",
        "Tell the user to switch between an inbound webhook and an application (OAuth).",
        "authorization",
    ),
    "HTTP_UNAUTHORIZED": ErrorKind(
        "The portal, or something before it, refused the authorisation", _NEW_WEBHOOK, "authorization", quoted=True,
        team=_TEAMS_WEBHOOK,
    ),
    "HTTP_FORBIDDEN": ErrorKind(
        "The portal, or something before it, forbids the call; an IP allow-list can be the reason",
        f"{_ADMIN} whether access is limited to certain IP addresses and whether the webhook's user may use CRM.",
        "authorization", quoted=True,
    ),
    # What the authorization server (OAuth) says
    "invalid_grant": ErrorKind(
        "The authorization server no longer takes the application's refresh token: it is older than 180 days, or has "
        "been used elsewhere",
        _LOGIN, "authorization", team=_TEAMS_LOGIN,
    ),
    "invalid_client": ErrorKind(
        "The authorization server does not know this application",
        "Tell the user to check BITRIX24_CLIENT_ID and BITRIX24_CLIENT_SECRET, and that BITRIX24_OAUTH_URL is the "
        "authorization server of the portal.", "configuration",
    ),
    "OAUTH_INVALID_REQUEST": ErrorKind(
        "The authorization server did not understand the request for a token",
        "Tell the user to check BITRIX24_OAUTH_URL, BITRIX24_CLIENT_ID and BITRIX24_CLIENT_SECRET.",
        "configuration", quoted=True,
    ),
    "invalid_scope": ErrorKind(
        "The application asks for permissions that it may not have",
        "Tell the user to give the application the CRM (crm) permission in Bitrix24.", "authorization",
    ),
    "NOT_INSTALLED": ErrorKind(
        "The application is not installed on the portal", f"{_ADMIN} to install it.", "authorization"
    ),
    "OAUTH_REFUSED": ErrorKind(
        "The authorization server refused the request for a token with an error that is not documented",
        "Act on its words if they are clear; otherwise tell the user to check BITRIX24_OAUTH_URL, BITRIX24_CLIENT_ID "
        "and BITRIX24_CLIENT_SECRET.",
        "authorization", quoted=True,
        person="Act on its words if they are clear; otherwise check BITRIX24_OAUTH_URL, BITRIX24_CLIENT_ID and "
        "BITRIX24_CLIENT_SECRET.",
    ),
    "NOT_OAUTH": ErrorKind(
        "No authorization server answers at the address in BITRIX24_OAUTH_URL",
        "Tell the user to correct BITRIX24_OAUTH_URL, or remove it to use Bitrix24's own server, and check that no VPN "
        "or proxy stands between.",
        "configuration",
    ),
    "OAUTH_UNAVAILABLE": ErrorKind(
        "The authorization server is not working at the moment, or its answer was lost",
        "Call the same tool again once; if it fails again, tell the user that the authorization server has trouble, "
        "and to check BITRIX24_OAUTH_URL.",
        "portal", retryable=True, retry_after=30, quoted=True,
        person="Try again in a minute; if it fails again, the authorization server has trouble: check "
        "BITRIX24_OAUTH_URL.",
    ),
    "OAUTH_UNREACHABLE": ErrorKind(
        "No connection to the authorization server could be made",
        "Tell the user to check BITRIX24_OAUTH_URL, and the network, VPN and proxy of the machine that this server "
        "runs on.",
        "network", retryable=True, retry_after=30,
    ),
    "OAUTH_TLS_FAILURE": ErrorKind(
        "The secure connection (TLS) to the authorization server failed; its certificate is not trusted here, or "
        "something intercepts it",
        "Tell the user to check BITRIX24_OAUTH_URL and the certificate of that server; if a private CA issued it, set "
        "BITRIX24_CA_FILE to the certificate of that CA (PEM).",
        "network",
    ),
    "NO_TOKEN": ErrorKind(
        "This application has no token for the portal yet", _LOGIN, "authorization", team=_TEAMS_LOGIN
    ),
    "TOKENS_NOT_KEPT": ErrorKind(
        "The application's tokens cannot be read from, or written to, the file that keeps them",
        "Tell the user to make room on the disk and check the access rights of the file; the command "
        "`bitrix24-directories-mcp check` names it.", "configuration",
    ),
    "TOKENS_DAMAGED": ErrorKind(
        "The file with the application's tokens is damaged", _LOGIN, "configuration", team=_TEAMS_LOGIN
    ),
    "RENEWAL_FAILED": ErrorKind(
        "The process that renews the application's tokens did not finish",
        "Call the same tool again once; if it fails again, tell the user to run `bitrix24-directories-mcp check` and "
        "then `bitrix24-directories-mcp login` with the same BITRIX24_ settings.",
        "configuration", retryable=True, retry_after=30,
        person="Try again once; if it fails again, run `bitrix24-directories-mcp login` with the same settings.",
    ),
    # What is set up wrong
    "INVALID_REQUEST": ErrorKind(
        "The portal takes https only", "Tell the user to begin BITRIX24_WEBHOOK_URL with https://.", "configuration",
        team=f"Tell the user to copy the webhook's URL from Bitrix24 again, with https://, and {_PUT_IN}.",
    ),
    "ERROR_METHOD_NOT_FOUND": ErrorKind(
        "The portal does not know this REST method, or the webhook lacks its permission (scope)",
        "Tell the user to check that the webhook has the CRM (crm) permission and that the portal is up to date.",
        "configuration",
    ),
    "PORTAL_DELETED": ErrorKind(
        "The portal is deleted, or its public part is closed",
        f"Tell the user to check the portal's address in {_ADDRESS} and that the portal opens in a browser.",
        "configuration",
    ),
    "HTTP_NOT_FOUND": ErrorKind(
        "There is no Bitrix24 REST at this address",
        "Tell the user to copy the webhook's URL from Bitrix24 into BITRIX24_WEBHOOK_URL again.",
        "configuration", quoted=True,
        team=f"Tell the user to copy the webhook's URL from Bitrix24 again, and {_PUT_IN}.",
    ),
    "NOT_BITRIX24": ErrorKind(
        "A web page came back instead of a REST answer: a login page, a proxy or another site answers at this address",
        f"Tell the user to check the address in {_ADDRESS}, and that no VPN or proxy stands between.",
        "configuration",
    ),
    "PORTAL_MOVED": ErrorKind(
        "The portal sends callers to another address that cannot be followed",
        "Tell the user to copy the webhook's URL, with the portal's present address, into BITRIX24_WEBHOOK_URL again. "
        "With an application, set BITRIX24_PORTAL_URL to it and run `bitrix24-directories-mcp login`.",
        "configuration",
        team="Tell the user to copy the webhook's URL, with the portal's present address, from Bitrix24 again, and "
        f"{_PUT_IN}. With an application, set BITRIX24_PORTAL_URL to it and run "
        "`bitrix24-directories-mcp login --person NAME`.",
    ),
    # What the call itself got wrong
    "INVALID_ENTITY_ID": ErrorKind(
        "The portal refuses this entityId as missing or incorrect",
        "Call list_directories and use one of its entityId values.",
        "input",
        person="See `bitrix24-directories-mcp call list_directories` for the directories that there are.",
    ),
    "ENTITY_ID_NOT_TEXT": ErrorKind(
        "The portal takes entityId only as text", 'Send entityId as a string such as "DEAL_STAGE".', "input",
        person="Report this: the program sent what the portal does not take.",
    ),
    "INVALID_PARAMETER": ErrorKind(
        "The portal refuses a parameter of the call", "Correct what the text names and call again.", "input",
        quoted=True,
        person="Correct what the text names and try again.",
    ),
    "NOT_FOUND": ErrorKind(
        "The portal has no such record", "Read the directory again: the item may have been removed.", "input",
        quoted=True,
        person="Look at the directory again: the item may have been removed.",
    ),
    "REFUSED": ErrorKind(
        "The portal refuses the call; its reason may be in the portal's language",
        "Correct what the text names and call again.", "input", quoted=True,
        person="Correct what the text names and try again.",
    ),
    "ENTITY_TYPE_NOT_SUPPORTED": ErrorKind(
        "The portal does not offer this for this type of record",
        "Use another type of record; leads and quotes, for example, have no pipelines.", "input", quoted=True,
    ),
    "FEATURE_DISABLED": ErrorKind(
        "This is switched off on the portal, or nothing may be added or removed here",
        f"{_ADMIN} whether it can be switched on; what Bitrix24 itself needs cannot be removed.", "input", quoted=True,
    ),
    "ERROR_MANIFEST_IS_NOT_AVAILABLE": ErrorKind(
        "The portal says that the manifest is not available", "Tell the user; nothing in this call can fix it.",
        "portal",
        person="Check the application's installation on the portal.",
    ),
    "ERROR_BATCH_METHOD_NOT_ALLOWED": ErrorKind(
        "The portal does not allow this method inside a batch", "Make the calls one by one.", "input",
        person="Try the parts one by one.",
    ),
    "ERROR_BATCH_LENGTH_EXCEEDED": ErrorKind(
        "A batch held more than 50 commands", "Ask for at most 50 at a time.", "input",
        person="Ask for at most 50 at a time.",
    ),
    # What a change got wrong
    "NOT_ALLOWED_TO_CHANGE": ErrorKind(
        "The webhook's user may not change directories in CRM",
        f"{_ADMIN} to make the change, or to use the webhook of a CRM administrator.", "authorization",
    ),
    "FIELD_MISSING": ErrorKind(
        "A required field of the item is missing", "Give the item a name and a code, and call again.", "input",
        quoted=True,
        person="Give the item a name and a code.",
    ),
    "DIRECTORY_NOT_CHANGEABLE": ErrorKind(
        "The portal does not let this directory be changed", "Call list_directories and choose one of its directories.",
        "input",
        person="Choose one of the directories that `bitrix24-directories-mcp call list_directories` shows.",
    ),
    "SYSTEM_ITEM": ErrorKind(
        "This is a system item, which Bitrix24 needs; it cannot be deleted",
        "Rename it with update_directory_item instead, if only its name is wrong.", "input",
        person="Rename it instead, if only its name is wrong.",
    ),
    "ITEM_IN_USE": ErrorKind(
        "CRM records still carry this code",
        "Move those records to another item first, with merge_directory_items; or rename the item instead.",
        "input",
        person="Move those records to another item first; or rename the item instead of deleting it.",
    ),
    "CODE_TAKEN": ErrorKind(
        "The directory has an item with this code already",
        "Read the directory again, and use another statusId or leave it out.", "input",
        person="Look at the directory again, and use another code or leave it out.",
    ),
    "AFTER_WINNING_STAGE": ErrorKind(
        "No stage may stand after the winning one", "Put it before the winning stage, or give it the meaning failure.",
        "input",
        person="Put it before the winning stage, or give it the meaning failure.",
    ),
    "CHANGE_FAILED": ErrorKind(
        "The portal could not make the change; a code may be too long or hold characters that it does not take",
        "Use a shorter statusId of letters A-Z, digits, _ and -, and call again.", "input", quoted=True,
        person="Use a shorter code of letters A-Z, digits, _ and -.",
    ),
    "RECORD_REFUSED": ErrorKind(
        "The portal refused to store the record in this form",
        "Act on the portal's words: a value may be invalid or not unique, a field required, a stage closed to this "
        "user, or the type locked.",
        "input", quoted=True,
        person="Look at the record in Bitrix24: a value may be invalid or not unique, a field required, a stage "
        "closed to this user.",
    ),
    "CRM_ITEM_HAS_RUNNING_WORKFLOWS": ErrorKind(
        "A workflow is running on this record",
        "Tell the user to let the workflow end, or to stop it in Bitrix24, and make the same call again after that.",
        "input", quoted=True,
        person="Let the workflow end, or stop it in Bitrix24, and try again after that.",
    ),
    # What failed on the portal's side
    "PORTAL_EXCEPTION": ErrorKind(
        "An error on the portal ended the call",
        "Act on the portal's words if they name a mistake. If the call was to change something, read again before "
        "you repeat it: the change may have been stored.",
        "portal", quoted=True,
    ),
    "INTERNAL_SERVER_ERROR": ErrorKind(
        "Internal error on the portal", _LATER, "portal", person=_LATER_PERSON, retryable=True, retry_after=5,
        quoted=True,
    ),
    "ERROR_UNEXPECTED_ANSWER": ErrorKind(
        "Internal error on the portal", _LATER, "portal", person=_LATER_PERSON, retryable=True, retry_after=5,
        quoted=True,
    ),
    "SERVER_ERROR": ErrorKind(
        "The portal, or a proxy before it, is not working at the moment (maintenance or overload)",
        _LATER,
        "portal", retryable=True, retry_after=30, quoted=True,
        person=_LATER_PERSON,
    ),
    "EMPTY_ANSWER": ErrorKind(
        "The portal answered with nothing", _LATER, "portal", person=_LATER_PERSON, retryable=True, retry_after=5
    ),
    "BROKEN_ANSWER": ErrorKind(
        "The portal's answer is damaged: it is not valid JSON", _LATER, "portal",
        person=_LATER_PERSON, retryable=True, retry_after=5,
    ),
    "ANSWER_TOO_LARGE": ErrorKind(
        "The portal's answer is larger than 10 MiB, far more than a directory holds; it was not read to its end",
        f"Tell the user to check that {_ADDRESS} holds the address of the portal.",
        "portal",
    ),
    "UNEXPECTED_ANSWER": ErrorKind(
        "The portal's answer has a shape that its documentation does not describe",
        "Tell the user; the portal may be of another version. The command `bitrix24-directories-mcp check` shows more.",
        "portal",
        person="The portal may be of another version than this program knows; please report what it answered.",
    ),
    "UNKNOWN_ERROR": ErrorKind(
        "The portal refused the call with an error that is not documented",
        "Act on the portal's words if they are clear; otherwise show them to the user.",
        "portal", quoted=True,
        person="Act on the portal's words if they are clear; otherwise ask its administrator.",
    ),
    "INTERNAL_ERROR": ErrorKind(
        "This MCP server itself failed; that is a mistake in it, not in the call",
        "Tell the user to report it with what it wrote to stderr.", None,
    ),
    # What failed on the way
    "CONNECTION_REFUSED": ErrorKind(
        "Nothing answers at the portal's address: the connection was refused",
        f"Tell the user to check the address and port in {_ADDRESS}, and that the portal is running.",
        "network", retryable=True, retry_after=30,
    ),
    "CONNECTION_FAILED": ErrorKind(
        "No connection to the portal could be made",
        "Tell the user to check the network, VPN and proxy of the machine that this server runs on.",
        "network", retryable=True, retry_after=30,
    ),
    "CONNECTION_LOST": ErrorKind(
        "The connection to the portal broke before the answer was complete", _LATER,
        "network", retryable=True, retry_after=5,
        person=_LATER_PERSON,
    ),
    "DNS_FAILURE": ErrorKind(
        "The portal's host name cannot be resolved",
        f"Tell the user to check the spelling of the address in {_ADDRESS}, and the network.",
        "network", retryable=True, retry_after=30,
    ),
    "TLS_FAILURE": ErrorKind(
        "The secure connection (TLS) to the portal failed; its certificate is not trusted here, or something "
        "intercepts it",
        "Tell the user to check the certificate of the portal or proxy; where it is of an authority of their own, "
        "BITRIX24_CA_FILE must name that authority's file (PEM).",
        "network",
    ),
    "NOT_TLS": ErrorKind(
        "What answers at the portal's address does not speak TLS (https)",
        f"Tell the user to check the address and port in {_ADDRESS}: plain http may be served there.", "network",
    ),
    "CERTIFICATES_UNREADABLE": ErrorKind(
        "The file or folder of trusted certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read",
        "Tell the user to correct or remove that variable of the environment.", "configuration",
    ),
    "CA_FILE_UNREADABLE": ErrorKind(
        "The file that BITRIX24_CA_FILE names cannot be read, or holds no certificates in PEM form",
        "Tell the user to correct or remove that setting.", "configuration",
    ),
    "PROXY_FAILURE": ErrorKind(
        "The proxy that the environment sets (HTTPS_PROXY, HTTP_PROXY or ALL_PROXY) cannot be used or does not answer",
        "Tell the user to check the proxy's address and access.",
        "network",
    ),
    "TIMEOUT": ErrorKind(
        "The portal did not answer in time",
        "Call again once; if it happens again, tell the user to raise BITRIX24_TIMEOUT (seconds) or to check the "
        "portal.",
        "network", retryable=True, retry_after=5,
        person="Try again; if it happens again, raise BITRIX24_TIMEOUT (seconds) or check the portal.",
    ),
}  # fmt: skip
"""Every failure that this product knows, by code."""

BEFORE_THE_METHOD = frozenset(
    {
        "QUERY_LIMIT_EXCEEDED",
        "OPERATION_TIME_LIMIT",
        "OVERLOAD_LIMIT",
        "NO_AUTH_FOUND",
        "CONNECTION_ERROR",
        "expired_token",
        "invalid_token",
        "ERROR_OAUTH",
        "APPLICATION_NOT_FOUND",
        "NOT_INSTALLED",
        "AUTHORIZATION_ERROR",
        "PAYMENT_REQUIRED",
        "METHOD_CONFIRM_WAITING",
        "METHOD_CONFIRM_DENIED",
        "insufficient_scope",
        "user_access_error",
        "allowed_only_intranet_user",
        "WRONG_AUTH_TYPE",
        "INVALID_REQUEST",
        "ERROR_METHOD_NOT_FOUND",
        "ERROR_MANIFEST_IS_NOT_AVAILABLE",
        "ERROR_BATCH_METHOD_NOT_ALLOWED",
        "ERROR_BATCH_LENGTH_EXCEEDED",
        "PORTAL_DELETED",
    }
)
"""Refusals before a method runs, whatever the HTTP status."""

_BY_THE_METHOD = (
    "INTERNAL_SERVER_ERROR",
    "ERROR_UNEXPECTED_ANSWER",
    "ACCESS_DENIED",
    "INVALID_CREDENTIALS",
    "WRONG_LICENSE",
    "NOT_FOUND",
    "ENTITY_TYPE_NOT_SUPPORTED",
    "FEATURE_DISABLED",
    "CRM_ITEM_HAS_RUNNING_WORKFLOWS",
)

BY_CODE = {code.upper(): code for code in (*BEFORE_THE_METHOD, *_BY_THE_METHOD)} | {
    "ERROR_CORE": "PORTAL_EXCEPTION",
    "GENERAL_ERROR": "PORTAL_EXCEPTION",
    "BX_ERROR": "PORTAL_EXCEPTION",
    "0": "PORTAL_EXCEPTION",
    "100": "INVALID_PARAMETER",
    "ERROR_ARGUMENT": "INVALID_PARAMETER",
    "INVALID_ARG_VALUE": "INVALID_PARAMETER",
    "REQUIRED_ARG_MISSING": "INVALID_PARAMETER",
    "WRONG_DATETIME_FORMAT": "INVALID_PARAMETER",
    "WRONG_ENCODING": "INVALID_PARAMETER",
    "ERROR_NOT_FOUND": "NOT_FOUND",
    "OWNER_NOT_FOUND": "NOT_FOUND",
    "RESTRICTED_BY_TARIFF": "WRONG_LICENSE",
    "ADDING_DISABLED": "FEATURE_DISABLED",
    "REMOVING_DISABLED": "FEATURE_DISABLED",
    "CRM_ITEM_READ_ACCESS_DENIED": "CRM_ACCESS_DENIED",
    "CRM_ITEM_ADD_ACCESS_DENIED": "CRM_ACCESS_DENIED",
    "CRM_ITEM_UPDATE_ACCESS_DENIED": "CRM_ACCESS_DENIED",
    "CRM_ITEM_DELETE_ACCESS_DENIED": "CRM_ACCESS_DENIED",
    "CRM_FIELD_ERROR_VALUE_NOT_VALID": "RECORD_REFUSED",
    "CRM_FIELD_ERROR_NOT_UNIQUE": "RECORD_REFUSED",
    "CRM_FIELD_ERROR_VALUE_NOT_UNIQUE": "RECORD_REFUSED",
    "CRM_FIELD_ERROR_REQUIRED": "RECORD_REFUSED",
    "CRM_FIELD_ERROR_CATEGORY_NOT_AVAILABLE": "RECORD_REFUSED",
    "UPDATE_DYNAMIC_ITEM_RESTRICTED": "RECORD_REFUSED",
    "-": "RECORD_REFUSED",
}
"""A portal's code in upper case -> its row. "0" stands for every number without a row of its own."""

TOLD_BY_TEXT = frozenset({"ERROR_CORE", "GENERAL_ERROR", "BX_ERROR", "0", "100", "ERROR_ARGUMENT", "INVALID_ARG_VALUE"})
"""Codes that say little: the text decides, if it is one of BY_TEXT."""

UNCLEAR = frozenset(
    {"ERROR_CORE", "GENERAL_ERROR", "BX_ERROR", "0", "100", "INTERNAL_SERVER_ERROR", "ERROR_UNEXPECTED_ANSWER"}
)
"""Codes that may come after the portal has stored a change."""

BAD_WEBHOOK = "invalid request credentials"
"""Text of INVALID_CREDENTIALS for a webhook that the portal does not know, in lower case."""

BY_OAUTH_CODE = {
    "invalid_grant": "invalid_grant",
    "invalid_client": "invalid_client",
    "wrong_client": "invalid_client",
    "invalid_request": "OAUTH_INVALID_REQUEST",
    "invalid_scope": "invalid_scope",
    "insufficient_scope": "insufficient_scope",
    "payment_required": "PAYMENT_REQUIRED",
    "not_installed": "NOT_INSTALLED",
}
"""The authorization server's code in lower case -> its row."""

AT_AUTHORIZATION_SERVER = {
    "CONNECTION_REFUSED": "OAUTH_UNREACHABLE",
    "CONNECTION_FAILED": "OAUTH_UNREACHABLE",
    "DNS_FAILURE": "OAUTH_UNREACHABLE",
    "NOT_TLS": "OAUTH_UNREACHABLE",
    "TLS_FAILURE": "OAUTH_TLS_FAILURE",
    "CONNECTION_LOST": "OAUTH_UNAVAILABLE",
    "TIMEOUT": "OAUTH_UNAVAILABLE",
    "EMPTY_ANSWER": "OAUTH_UNAVAILABLE",
    "BROKEN_ANSWER": "OAUTH_UNAVAILABLE",
    "INTERNAL_SERVER_ERROR": "OAUTH_UNAVAILABLE",
    "SERVER_ERROR": "OAUTH_UNAVAILABLE",
    "TOO_MANY_REQUESTS": "OAUTH_UNAVAILABLE",
    "ANSWER_TOO_LARGE": "NOT_OAUTH",
    "NOT_BITRIX24": "NOT_OAUTH",
    "HTTP_UNAUTHORIZED": "NOT_OAUTH",
    "HTTP_FORBIDDEN": "NOT_OAUTH",
    "HTTP_NOT_FOUND": "NOT_OAUTH",
    "PORTAL_DELETED": "NOT_OAUTH",
    "UNKNOWN_ERROR": "NOT_OAUTH",
}
"""A row that blames the portal -> the row for the same failure of the authorization server."""

BY_TEXT = (
    ("the parameter entityid must be a string", "ENTITY_ID_NOT_TEXT"),
    ("the parameter entityid is not defined or invalid", "INVALID_ENTITY_ID"),
    ("identifier of the directory is not specified or is incorrect", "INVALID_ENTITY_ID"),
    ("access denied", "CRM_ACCESS_DENIED"),
    ("insufficient permissions to change the stage", "RECORD_REFUSED"),
    ("is required", "FIELD_MISSING"),
    ("must be array", "FIELD_MISSING"),
    ("entity type is not supported", "DIRECTORY_NOT_CHANGEABLE"),
    ("can be deleted only if parameter forced", "SYSTEM_ITEM"),
    ("there are active items in this status", "ITEM_IN_USE"),
    ("specified status id already exists", "CODE_TAKEN"),
    ("cannot create more stages after the final stage", "AFTER_WINNING_STAGE"),
    ("error on creating status", "CHANGE_FAILED"),
    ("error on updating status", "CHANGE_FAILED"),
    ("error on deleting status", "CHANGE_FAILED"),
    ("status is not found", "NOT_FOUND"),
    ("invalid identifier", "NOT_FOUND"),
)
"""A method's text without a code of its own, in lower case -> its row."""

NEVER_SENT = frozenset(
    {
        "CONNECTION_REFUSED",
        "CONNECTION_FAILED",
        "DNS_FAILURE",
        "TLS_FAILURE",
        "NOT_TLS",
        "CERTIFICATES_UNREADABLE",
        "CA_FILE_UNREADABLE",
        "PROXY_FAILURE",
        "NO_TOKEN",
        "TOKENS_NOT_KEPT",
        "TOKENS_DAMAGED",
    }
)
"""Failures before a request has left this machine."""

BY_STATUS = {
    401: "HTTP_UNAUTHORIZED",
    403: "HTTP_FORBIDDEN",
    429: "TOO_MANY_REQUESTS",
    500: "INTERNAL_SERVER_ERROR",
}
"""HTTP status without a known code or text -> its row."""

BY_STATUS_OF_PAGE = {
    404: "HTTP_NOT_FOUND",
    405: "NOT_BITRIX24",
    410: "PORTAL_DELETED",
    501: "NOT_BITRIX24",
    505: "NOT_BITRIX24",
}
"""The same for an answer that holds no error in Bitrix24's form."""
