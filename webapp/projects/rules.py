"""Decisions about projects: which URLs and refs are taken, what a checkout may become. No database, no clock."""

from typing import Literal

CheckoutStatus = Literal["pending", "syncing", "active", "error", "deleting"]
RefKind = Literal["default", "branch", "tag", "commit"]
CredentialKind = Literal["token", "ssh"]
Operation = Literal["clone", "pull", "status", "delete", "branches"]

# The tool that does all of this on the worker.
TOOL = "git"
