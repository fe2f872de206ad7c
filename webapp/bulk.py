"""One action for every row that a person ticked."""

from collections.abc import Callable

from flask import request

from webapp.errors import GarageError

MOST = 200


def each_ticked(act: Callable[[str], object]) -> tuple[int, list[str]]:
    """Do it for each `id` of the form, one after the other: what can't be done for one doesn't stop the rest.

    → how many were done, and why the others weren't.
    """
    count, problems = 0, list[str]()
    for said in request.form.getlist("id")[:MOST]:
        try:
            act(said)
            count += 1
        except GarageError as error:
            problems.append(error.detail)
    return count, problems
