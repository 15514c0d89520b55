"""Written arithmetic: small facts by heart, everything else place by place.

A model that writes from left to right cannot know the first digit of a sum before the carries. So sums,
differences and products go from the ones upwards, with the carry written down, and quotients from the front,
with the rest written down; every step is an equation of small numbers, and the result stands last.
"""

from itertools import zip_longest


def compute(a: int, op: str, b: int) -> int:
    """Return ``a op b`` for one of ``+ - * /``.

    Raises:
        ValueError: the result is negative or not whole, or the sign unknown.
    """
    if op == "/" and (b == 0 or a % b):
        raise ValueError(f"{a} / {b} is not whole")
    if op == "-" and b > a:
        raise ValueError(f"{a} - {b} is negative")
    if op not in ("+", "-", "*", "/"):
        raise ValueError(f"unknown sign {op!r}")
    return {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[op]


def by_heart(a: int, op: str, b: int) -> bool:
    """Whether ``a op b`` is answered at once: sums to 10 + 10, differences up to 20, the table to 12 x 12."""
    if op == "+":
        return max(a, b) <= 10
    if op == "-":
        return a <= 20
    if op == "*":
        return max(a, b) <= 12 or min(a, b) == 0
    return b <= 12 and a // b <= 12


def _digits(number: int) -> list[int]:
    return [int(digit) for digit in reversed(str(number))]


def _sum(a: int, b: int) -> list[str]:
    steps, carry = list[str](), 0
    for x, y in zip_longest(_digits(a), _digits(b)):
        parts = [part for part in (x, y) if part is not None] + [1] * carry
        total = sum(parts)
        steps.append(f"{'+'.join(map(str, parts))}={total}")
        carry = total // 10
    return steps


def _difference(a: int, b: int) -> list[str]:
    steps, borrowed = list[str](), 0
    for x, y in zip_longest(_digits(a), _digits(b)):
        parts = [] if y is None else [y]
        parts += [1] * borrowed
        borrowed = int(x < sum(parts))
        top = x + 10 * borrowed
        steps.append("-".join(map(str, [top, *parts])) + f"={top - sum(parts)}")
    return steps


def _product(a: int, b: int) -> list[str]:
    if a < b:
        a, b = b, a
    if b > 9:
        raise ValueError(f"{a} * {b}: one factor must have one digit")
    steps, carry = list[str](), 0
    for digit in _digits(a):
        part = digit * b
        steps.append(f"{digit}*{b}={part}")
        if carry:
            steps.append(f"{part}+{carry}={part + carry}")
        carry = (part + carry) // 10
    return steps


def _quotient(a: int, b: int) -> list[str]:
    steps, rest = list[str](), 0
    for digit in reversed(_digits(a)):
        part = 10 * rest + digit
        rest = part % b
        if steps or part >= b:
            steps.append(f"{part}={part // b}*{b}+{rest}")
    return steps


def worked(a: int, op: str, b: int) -> str:
    """Return ``a op b = c``, behind the working where it is not known by heart.

    Raises:
        ValueError: see :func:`compute`; or a product of two numbers of several digits beyond the table.
    """
    equation = f"{a} {op} {b} = {compute(a, op, b)}"
    if by_heart(a, op, b):
        return equation
    steps = {"+": _sum, "-": _difference, "*": _product, "/": _quotient}[op](a, b)
    return f"{a} {op} {b}: {', '.join(steps)}, so {equation}"
