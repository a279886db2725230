"""Methods of estimators that see one fit only."""

from __future__ import annotations

from copy import copy
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Estimator = TypeVar("_Estimator")
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def on_a_copy(
    method: Callable[Concatenate[_Estimator, _Arguments], _Result],
) -> Callable[Concatenate[_Estimator, _Arguments], _Result]:
    """Run a method on a copy, so that it sees one fit only, though another may end meanwhile.

    Parameters
    ----------
    method : callable
        Method of an estimator whose fits replace its whole ``__dict__``.

    Returns
    -------
    callable
        The same on a shallow copy; what it stores in ``self`` is lost.

    Examples
    --------
    >>> from geoquant.estimators.snapshot import on_a_copy
    >>> class Counter:
    ...     n = 0
    ...     @on_a_copy
    ...     def next(self):
    ...         self.n += 1
    ...         return self.n
    >>> counter = Counter()
    >>> counter.next(), counter.next()
    (1, 1)
    """

    @wraps(method)
    def method_of_copy(
        self: _Estimator, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Result:
        return method(copy(self), *args, **kwargs)

    return method_of_copy
