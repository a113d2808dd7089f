"""Header fields of a request or response. RFC 9110, section 5."""

from collections.abc import Iterable, Iterator, Mapping

from .quoting import shown_name


class Headers(Mapping[str, str]):
    """Header fields in order; names are case-insensitive.

    `headers[name]` joins repeated fields with a comma (RFC 9110, section 5.3); `get_all` keeps
    them apart. Values are latin-1 text.

    Raises:
        TypeError: these are not fields.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        if not fields:  # the common case; an iterator is never false
            self._fields: tuple[tuple[str, str], ...] = ()
        elif isinstance(fields, Headers):
            self._fields = fields._fields
        else:
            pairs = fields.items() if isinstance(fields, Mapping) else fields
            try:
                self._fields = tuple([(name.lower(), value) for name, value in pairs])
            except (AttributeError, TypeError, ValueError):
                raise TypeError("headers must be pairs of str: a name and a value") from None

    @classmethod
    def parsed(cls, fields: Iterable[tuple[str, str]]) -> "Headers":
        """Headers from fields whose names are already in lower case."""
        headers = cls.__new__(cls)
        headers._fields = tuple(fields)
        return headers

    def get_all(self, name: str) -> list[str]:
        """The values of all fields of that name, in order."""
        name = name.lower()
        return [value for field, value in self._fields if field == name]

    def combined(self) -> dict[str, str]:
        """`headers[name]` for every name at once, for callers that need many."""
        fields = dict(self._fields)
        if len(fields) == len(self._fields):
            return fields
        found: dict[str, list[str]] = {}
        for name, value in self._fields:
            found.setdefault(name, []).append(value)
        return {name: ", ".join(values) for name, values in found.items()}

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_all(name))

    def fields(self) -> tuple[tuple[str, str], ...]:
        """All fields in order, as pairs of a lower-case name and a value."""
        return self._fields

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._fields))

    def __len__(self) -> int:
        return len(dict(self._fields))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._fields == other._fields

    def __hash__(self) -> int:
        return hash(self._fields)

    def __repr__(self) -> str:
        return f"<Headers {' '.join(shown_name(name) for name, _ in self._fields)}>"
