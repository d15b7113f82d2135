"""Digits in Chinese text read out in Chinese, by the rules of the normaliser cn_tn (Jiayu Du, 2019).

Written from knowledge of those rules, and checked on recorded outcomes of the official code only (docs/evaluation.md).
"""

import re
from collections.abc import Callable
from typing import Final

_DIGITS: Final = "零一二三四五六七八九"
_POINT: Final = "点"
# Units by power of ten, greatest first; those above 千 are four powers apart.
_UNITS: Final = {
    **{4 * (i + 1): unit for i, unit in reversed(list(enumerate("万亿兆京垓秭穰沟涧正载")))},
    **{3: "千", 2: "百", 1: "十"},
}
_POWERS: Final = {unit: power for power, unit in _UNITS.items()}

_NUMBER: Final = r"\d+(?:\.\d+)?"
_SCALED: Final = "(?:亿|千万|百万|万|千|百)"
_CURRENCY: Final = f"(?:{_SCALED}|{_SCALED}?元|{_SCALED}?块|角|毛|分)"
_QUANTIFIERS: Final = (
    "(?:[匹张座回场尾条个首阙阵网炮顶丘棵只支袭辆挑担颗壳窠曲墙群腔砣客贯扎捆刀令打手罗坡山岭江溪钟队单双对出口头脚板跳枝件贴针线管名位身堂课本页家户层]"
    "|[丝毫厘分钱两斤铢石钧锱忽寸尺丈里寻常铺程撮勺合升斗]|[千毫微]克|[千分厘毫微]米"
    "|[盘碗碟叠桶笼盆盒杯斛锅簋篮罐瓶壶卮盏箩箱煲啖袋钵]"
    "|[年月日季刻时周天秒旬纪岁世更夜春夏秋冬代伏辈]|[丸泡粒幢堆根道面片块])"
)

_DATE: Final = re.compile(r"\D(?=\d)((?:(?:[089]\d|(?:19|20)\d{2})年)?(?:\d{1,2}月(?:\d{1,2}[日号])?)?)")
_MONEY: Final = re.compile(rf"\D({_NUMBER}[多余几]?{_CURRENCY}(?:\d{_CURRENCY}?)?)")
_MOBILE: Final = re.compile(r"\D((?:\+?86 ?)?1(?:[38]\d|5[0-35-9]|7[678]|9[89])\d{8})\D")
_LANDLINE: Final = re.compile(r"\D((?:0(?:10|2[1-3]|[3-9]\d{2})-?)?[1-9]\d{6,7})\D")
_FRACTION: Final = re.compile(r"(\d+/\d+)")
_PERCENTAGE: Final = re.compile(f"({_NUMBER}%)")
_COUNT: Final = re.compile(f"({_NUMBER})[多余几]?{_QUANTIFIERS}")
_CODE: Final = re.compile(r"(\d{4,32})")
_PLAIN: Final = re.compile(f"({_NUMBER})")


def read_out_numbers(text: str) -> str:
    """Returns a text with its digits read out in Chinese.

    In turn dates, money, phone numbers, fractions, percentages and numbers before a quantifier are read out, then what
    is left: four digits and more one by one, shorter numbers with units.
    """
    text = f"^{text}$"  # so that a number at either end has a neighbour that is not a digit
    text = _read_each(text, _DATE, _read_date)
    text = _read_each(text, _MONEY, lambda money: _read_each(money, _PLAIN, read_number))
    text = _read_each(text, _MOBILE, read_digits)
    text = _read_each(text, _LANDLINE, read_digits)
    text = _read_each(text, _FRACTION, _read_fraction)
    text = _read_each(text.replace("％", "%"), _PERCENTAGE, lambda found: "百分之" + read_number(found[:-1]))
    text = _read_each(text, _COUNT, read_number)
    text = _read_each(text, _CODE, read_digits)
    text = _read_each(text, _PLAIN, read_number)
    # A two between Latin letters, as in B2B, stays a digit.
    return re.sub("([a-zA-Z]+)二([a-zA-Z]+)", r"\g<1>2\2", text)[1:-1]


def read_number(number: str) -> str:
    """Reads a number out with units, such as "2003.5" as 两千零三点五.

    Args:
      number: digits of any script, at most one decimal point; leading zeros are read as one.
    """
    whole, _, decimals = number.partition(".")
    symbols = _read_whole(whole) if len(whole) > 1 else [_DIGITS[int(whole)]]
    symbols = [_two_before_unit(symbols, i) for i in range(len(symbols))]
    reading = "".join(symbols) or ("零" if decimals else "")
    if reading.startswith("一十"):
        reading = reading[1:]
    return reading + (_POINT + read_digits(decimals) if decimals else "")


def read_digits(number: str) -> str:
    """Reads digits out one by one, and leaves out whatever else is between them."""
    return "".join(_DIGITS[int(char)] for char in number if char.isdecimal())


def _read_each(text: str, pattern: re.Pattern[str], read: Callable[[str], str]) -> str:
    """Reads out the first group of each match.

    Quirk of cn_tn: what is replaced is the first place where the same characters stand, be it in a longer number.
    """
    for found in pattern.findall(text):
        text = text.replace(found, read(found), 1)
    return text


def _read_date(date: str) -> str:
    """Reads the digits of a year one by one, month and day as numbers."""
    year, mark, rest = date.rpartition("年")
    return read_digits(year) + mark + _read_each(rest, _PLAIN, read_number)


def _read_fraction(fraction: str) -> str:
    numerator, denominator = fraction.split("/")
    return f"{read_number(denominator)}分之{read_number(numerator)}"


def _read_whole(digits: str) -> list[str]:
    """Returns digits and units of a whole number; a zero alone gives nothing.

    Quirk of cn_tn: only the ASCII zero counts as leading, so that ２０２ is 二百零十二.
    """
    stripped = digits.lstrip("0")
    if not stripped:
        return []
    if len(stripped) == 1:
        return ["零"] * (stripped != digits) + [_DIGITS[int(stripped)]]
    power = next(power for power in _UNITS if power < len(stripped))
    return [*_read_whole(digits[:-power]), _UNITS[power], *_read_whole(stripped[-power:])]


def _two_before_unit(symbols: list[str], i: int) -> str:
    """Returns symbol `i`, 两 in place of 二 if it stands before a unit other than 十 and at the start or after one."""
    before = 2 if i == 0 else _POWERS.get(symbols[i - 1], 1)
    after = _POWERS.get(symbols[i + 1], 1) if i + 1 < len(symbols) else 1
    return "两" if symbols[i] == "二" and before > 1 and after > 1 else symbols[i]
