"""The small templates of make_jinja_goldens.py. All are rendered with CONTEXT."""

CONTEXT = {
    "s": "Hello World",
    "empty": "",
    "spaced": "  \t padded \n",
    "lines": "one\ntwo\n\nfour",
    "uni": "Grüße, 世界! ß 🤖 İ",
    "quotes": "it's \"so\" <b>&\\ \x01\u200b\u00a0",
    "csv": "a,b,,c",
    "num": "42",
    "i": 7,
    "neg": -3,
    "zero": 0,
    "f": 2.5,
    "tiny": 1e-7,
    "huge": 1.5e300,
    "third": 0.1,
    "yes": True,
    "no": False,
    "nil": None,
    "list": [3, 1, 2],
    "words": ["pear", "Apple", "fig", "apple"],
    "mixed": [1, "a", None, 2.5, True, [1], {"k": 1}],
    "nested": [[1, 2], [3, [4, 5]]],
    "none_list": [],
    "d": {"b": 2, "a": 1, "C": 3},
    "shadow": {"items": [1], "keys": "k", "name": "n", "get": 5},
    "deep": {"x": {"y": [{"z": "bottom"}]}},
    "none_dict": {},
    "users": [
        {"name": "Ann", "age": 31, "admin": True, "tags": ["x", "y"]},
        {"name": "bob", "age": 25, "admin": False, "tags": []},
        {"name": "Cid", "age": 31, "tags": ["z"]},
    ],
}

VALUES = ["s", "empty", "spaced", "lines", "uni", "quotes", "num", "i", "neg", "zero", "f", "tiny",
          "huge", "yes", "no", "nil", "list", "words", "mixed", "none_list", "d", "none_dict",
          "users", "missing", "(1, 'b')", "range(4)", "d.items()", "words|map('upper')",
          "'<b>'|safe", "namespace(a=1)"]  # fmt: skip

PLAIN_FILTERS = ["abs", "capitalize", "count", "d", "default('x')", "default('x', true)",
                 "default(boolean=true)", "dictsort|list", "e", "escape", "first", "float",
                 "float(1.5)", "forceescape", "int", "int(5)", "join", "join(', ')", "last",
                 "length", "list", "lower", "max", "min", "items|list", "replace('l', 'L')",
                 "reverse|list", "round", "round(1)", "safe", "select|list", "reject|list", "sort",
                 "sort(reverse=true)", "string", "sum", "title", "tojson", "tojson(indent=2)",
                 "trim", "trim('Hd ')", "unique|list", "upper", "urlencode", "wordcount",
                 "indent", "indent(2, true)", "truncate(9)", "center(21)", "batch(2)|list",
                 "slice(2)|list", "map('string')|list", "attr('upper')", "first|upper",
                 "filesizeformat", "tojson(sort_keys=true)"]  # fmt: skip

PLAIN_TESTS = ["boolean", "callable", "defined", "escaped", "even", "false", "float", "integer",
               "iterable", "lower", "mapping", "none", "number", "odd", "sequence", "string",
               "true", "undefined", "upper", "filter", "test", "divisibleby 3", "divisibleby(2)",
               "eq 7", "== 'Hello World'", "ne(none)", "gt 2", "> 2", "ge 7", "lt 3", "le 2.5",
               "greaterthan 1", "lessthan 1", "equalto true", "sameas none", "sameas true",
               "in [7, 'a', none]", "in s", "not none", "not in d"]  # fmt: skip

OPERANDS = ["7", "-3", "0", "2.5", "-0.5", "true", "'ab'", "''", "[1, 2]", "[]", "(1,)", "{'a': 1}",
            "none", "missing", "1e3"]  # fmt: skip
BINARY = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in",
          "not in", "and", "or"]  # fmt: skip

STRING_CALLS = [
    "s.upper()", "s.lower()", "s.title()", "s.capitalize()", "s.swapcase()", "s.casefold()",
    "uni.upper()", "uni.lower()", "uni.title()", "uni.swapcase()", "'ǆ'.title()",
    "spaced.strip()", "spaced.lstrip()", "spaced.rstrip()", "spaced.strip(' ')", "s.strip('Hd')",
    "s.strip('')", "s.lstrip('eH')", "s.rstrip('dl')", "'世x世'.strip('世')", "s.strip(none)",
    "csv.split(',')", "csv.split(',', 1)", "csv.split(',', maxsplit=2)", "csv.split(sep=',')",
    "csv.rsplit(',', 1)", "csv.rsplit(',')", "spaced.split()", "'a  b c'.split()",
    "'a  b c'.split(none, 1)", "' a  b c '.rsplit(none, 1)", "' a b '.split(' ')", "''.split()",
    "''.split(',')", "s.split('')", "s.split(1)", "'a b'.split(' ', -1)", "'a b c'.split(' ', 0)",
    "lines.splitlines()", "lines.splitlines(true)", "'a\\r\\nb\\rc\\x0bd\\x85e\\u2028f'.splitlines()",
    "''.splitlines()", "'a\\n'.splitlines()", "s.partition(' ')", "s.rpartition('o')",
    "s.partition('zz')", "s.rpartition('zz')", "s.startswith('He')", "s.startswith(('x', 'H'))",
    "s.startswith('W', 6)", "s.startswith('W', 6, 7)", "s.startswith('')", "s.startswith('', 99)",
    "s.startswith(1)", "s.endswith('ld')", "s.endswith(('a', 'd'))", "s.endswith('W', 0, 7)",
    "s.endswith('o', -11, -6)", "s.find('o')", "s.find('o', 5)", "s.find('o', 5, 6)",
    "s.find('o', -4)", "s.rfind('o')", "s.find('zz')", "s.find('')", "s.find('', 20)",
    "s.rfind('')", "uni.find('界')", "uni.rfind('界', 0, 5)", "s.index('W')", "s.index('zz')",
    "s.rindex('o')", "s.count('o')", "s.count('')", "s.count('l', 3)", "s.count('l', 3, 9)",
    "uni.count('')", "'aaaa'.count('aa')", "s.replace('o', '0')", "s.replace('o', '0', 1)",
    "s.replace('', '-')", "s.replace('', '-', 3)", "uni.replace('', '.')", "s.replace('l', '', -1)",
    "s.replace('o')", "s.replace(1, 2)", "''.replace('', 'x')", "'-'.join(words)", "'-'.join(list)",
    "', '.join(['a'])", "''.join([])", "'-'.join('abc')", "'-'.join(d)", "s.join(5)",
    "s.center(20)", "s.center(21, '*')", "s.center(5)", "'ab'.center(5)", "'abc'.center(6)",
    "s.ljust(15) ~ '|'", "s.rjust(15, '.')", "'x'.rjust(3, '世')", "'x'.rjust(3, 'ab')",
    "'42'.zfill(5)", "'-42'.zfill(5)", "'+4'.zfill(4)", "s.zfill(3)", "'a\\tb'.expandtabs()",
    "'a\\tb\\n\\tc'.expandtabs(4)", "'ab\\tc'.expandtabs(0)", "s.isalpha()", "'abc'.isalpha()",
    "'äß世'.isalpha()", "''.isalpha()", "'a1'.isalnum()", "'12'.isdigit()", "'²'.isdigit()",
    "'²'.isdecimal()", "'½'.isnumeric()", "'١'.isdigit()", "' \\t'.isspace()", "''.isspace()",
    "'abc'.islower()", "'aBc'.islower()", "'1'.islower()", "'ABC'.isupper()", "'A1'.isupper()",
    "'Ab Cd'.istitle()", "'ab'.istitle()", "''.isascii()", "uni.isascii()", "'a b'.isprintable()",
    "'\\n'.isprintable()", "''.isprintable()", "s.removeprefix('Hello ')", "s.removeprefix('x')",
    "s.removesuffix('World')", "s.removesuffix('')", "s.foo", "s.foo()", "s.upper", "s['upper']()",
    "s.__class__", "s.strip(1)", "s.strip(chars='H')", "s.upper(1)",
    "'{} {}'.format(1, 'a')", "'{0}{1}{0}'.format('a', 'b')", "'{x}'.format(x=5)",
    "'{x.y}'.format(x={'y': 1})", "'{0[1]}'.format([1, 2])", "'{0[name]}'.format(shadow)",
    "'{{}}'.format()", "'{'.format()", "'}'.format()", "'{}'.format()", "'{0} {}'.format(1, 2)",
    "'{:>5}|{:<5}|{:^5}|'.format('a', 'b', 'c')", "'{:05d}'.format(42)", "'{:+d}'.format(3)",
    "'{:,}'.format(1234567)", "'{:_}'.format(1234567)", "'{:x} {:X} {:o} {:b}'.format(255, 255, 8, 5)",
    "'{:#x}'.format(255)", "'{:.2f}'.format(3.14159)", "'{:8.3f}|'.format(2.5)", "'{:e}'.format(12345.6)",
    "'{:g}'.format(0.00001)", "'{:.1%}'.format(0.256)", "'{!r}'.format('a')", "'{!s:>4}'.format(1)",
    "'{:*^9}'.format('mid')", "'{:d}'.format('x')", "'{:s}'.format(1)", "'{:.2}'.format('abc')",
    "'{:{}}|'.format('a', 4)", "'{:>{w}}'.format('a', w=3)", "'{}'.format(none)", "'{:5}'.format(none)",
    "'{:5}|'.format(true)", "'{}'.format(2.0)", "'{:010.2f}'.format(-3.14159)", "'{:,.2f}'.format(1234567.891)",
]  # fmt: skip

PERCENT = [
    "'%s' % 1", "'%s and %s' % ('a', 'b')", "'%d' % 3.9", "'%d' % 'x'", "'%5d|' % 42", "'%-5d|' % 42",
    "'%05d' % 42", "'%+d' % 42", "'% d' % 42", "'%x %X %o' % (255, 255, 8)", "'%#x' % 255",
    "'%.2f' % 3.14159", "'%8.3f|' % 2.5", "'%e' % 12345.678", "'%g' % 0.0001", "'%G' % 1e-10",
    "'%s' % none", "'%s' % [1, 2]", "'%s' % d", "'%(a)s-%(b)s' % d", "'%(zz)s' % d", "'%s %s' % 'a'",
    "'%s' % ('a', 'b')", "'100%%' % ()", "'%' % 1", "'%y' % 1", "'%c' % 65", "'%c' % 'z'", "'%r' % 'q'",
    "'%5s|' % 'ab'", "'%-5s|' % 'ab'", "'%.1s' % 'ab'", "'%*d' % (5, 42)", "'%.*f' % (2, 3.14159)",
    "'%i' % 5", "'%u' % 5", "'%d' % true", "'%.3d' % 7", "'%s' % missing", "'%d' % missing",
    "'plain' % 1", "'plain' % d", "'%s'|format('x')", "'%s %s'|format(1, 2)", "'%(n)s'|format(n=3)",
]  # fmt: skip

SUBSCRIPTS = [
    "list[0]", "list[-1]", "list[9]", "list['0']", "list.0", "list.9", "nested.1.1.0", "s[0]", "s[-1]", "s[99]",
    "uni[3]", "uni[-2]", "d['a']", "d.a", "d['zz']", "d.zz", "d[1]", "d[[1]]", "d[none]", "deep.x.y[0].z",
    "deep['x']['y'][0]['z']", "deep.q.y", "deep.q", "missing.a", "missing['a']", "missing[0]",
    "missing()", "nil.a", "nil['a']", "i.a", "i[0]", "shadow.items", "shadow['items']", "shadow.name",
    "shadow.keys()|list", "shadow['keys']", "shadow.get('name')", "d.get('a')", "d.get('zz')",
    "d.get('zz', 5)", "d.get()", "d.keys()", "d.values()", "d.items()", "d.keys()|list", "d.items()|list",
    "d.copy()", "d.pop('a')", "d.update({})", "d.clear", "d.setdefault('q', 1)", "list.append(4)",
    "list.append", "list.append is defined", "list.index(1)", "list.index(9)", "list.count(1)", "list.copy()",
    "list.pop()", "list.sort()", "list.extend([1])", "(1, 2).count(1)", "(1, 2)[0]", "list[:]", "list[1:]",
    "list[:-1]", "list[::-1]", "list[::2]", "list[5:]", "list[-2:]", "list[2:0:-1]", "list[:0]", "list[::0]",
    "list['a':]", "list[none:none]", "list[1.5:]", "s[::2]", "s[::-1]", "uni[2:9]", "uni[::-1]", "uni[-4:-1]",
    "s[4:2]", "range(10)[2:8:3]|list", "(1, 2, 3)[1:]", "d[1:]", "nil[1:]", "missing[1:]", "5[0]", "f.is_integer()",
    "2.0.is_integer()", "range(3)[1]", "range(3)[5]", "d.items()[0]", "(d.items()|list)[0][1]", "users[0].tags[1]",
    "users[0]['name'][0]", "'abc'[1]", "[1, 2][true]", "list[i]", "list[missing]", "d[missing]",
    "list[9223372036854775807:]", "list[-9223372036854775807:]", "list[::9223372036854775807]",
]  # fmt: skip

LITERALS = [
    "1", "1_000", "0x1F", "0b101", "0o17", "1.5", "1e3", "1E-3", "1_0.5", "1.0e10", "1e16", "1e15", "123456789012345680.0",
    "0.0001", "0.00001", "-0.0", "3.0", "1e22", "1.7976931348623157e308", "5e-324", "0.1 + 0.2", "1/3", "100.0", "2e0",
    "true", "True", "false", "False", "none", "None", "'a' 'b'", "\"it's\"", "'say \"x\"'", "'a\\nb\\tc'",
    "'\\x41\\u00e9\\U0001F600'", "'\\q\\d'", "'\\\\n'", "'\\101'", "[]", "[1, 2,]", "[[1], ['a', \"b'\"]]", "{}",
    "{'a': 1, 'b': [2]}", "{1: 'x', true: 'y'}", "{'a': 1, 'a': 2}", "{none: 1}", "{[1]: 2}", "()", "(1,)", "(1, 2)", "(1)",
    "1, 2", "1,", "('a')", "{'k': (1, none)}", "[true, none, 1.0]", "['\\n', '\\'', '\"', '\\\\']", "['é', '\\x7f', '\\u200b']",
    "[missing]", "[''|safe]", "{'x': missing}", "quotes", "[quotes]", "9223372036854775807",
    "[1e400]", "[-1e400]", "1e400 - 1e400", "nested", "mixed", "d", "users", "['a'|upper]", "range(5)", "range(1, 5, 2)",
]  # fmt: skip

OPERATORS = [
    "1 + 2 * 3", "(1 + 2) * 3", "2 ** 3 ** 2", "-2 ** 2", "2 ** -1", "0 ** -1", "2 ** 0.5", "7 // 2", "-7 // 2", "7 // -2",
    "7 % 3", "-7 % 3", "7 % -3", "7.5 // 2", "-7.5 // 2", "7.5 % 2", "-7.5 % 2", "1 / 2", "4 / 2", "1 / 0", "1 // 0", "1 % 0",
    "1.0 / 0", "1 ~ 2", "'a' ~ 1 ~ none ~ true ~ [1]", "'a' + 'b'", "'a' + 1", "[1] + [2]", "[1] + (2,)", "(1,) + (2,)",
    "'ab' * 3", "3 * 'ab'", "'ab' * -1", "[0] * 3", "(1, 2) * 2", "'a' * 1.5", "+5", "--5", "-true", "+'a'", "-'a'", "not 1",
    "not not 1", "not ''", "1 < 2 < 3", "1 < 3 < 2", "3 > 2 > 1", "1 < 2 > 1 == 1", "1 == 1.0", "1 == true", "'1' == 1",
    "'a' < 'b'", "'B' < 'a'", "'é' > 'z'", "[1, 2] < [1, 3]", "[1] < [1, 0]", "(1, 2) < (1, 3)", "[1] < (1,)", "none == none",
    "none < 1", "d == d", "{'a': 1, 'b': 2} == {'b': 2, 'a': 1}", "[1, 2] == [1, 2]", "[1, 2] == (1, 2)", "missing == other",
    "missing != none", "missing < 1", "missing + 1", "1 + missing", "missing ~ 'x'", "-missing", "not missing", "missing * 2",
    "'a' in 'abc'", "'' in 'abc'", "1 in [1, 2]", "'1' in [1]", "1 in '123'", "'a' in d", "'zz' in d", "1 in 5", "1 in none",
    "1 in missing", "missing in [1]", "none in [none]", "[1] in [[1]]", "[1] in d", "2 in range(3)", "2.0 in range(3)",
    "'a' not in 'abc'", "not 'a' in 'abc'", "1 in d.values()", "('a', 1) in d.items()", "'A' in words|map('upper')",
    "true and 1", "0 and 1", "'' or 'x'", "none or missing or 5", "1 or 1/0", "0 and 1/0", "true and false or 2",
    "1 if true", "1 if false", "(1 if false) is defined", "1 if false else 2", "1 if true else 2 if true else 3",
    "'a' if i > 5 else 'b' if i > 3 else 'c'", "1 + 2 if false else 3", "(missing if true else 1) is defined",
    "1 is odd and 2 is even", "not 1 is even", "1 is not even", "i is defined and i > 5", "missing is defined or 5",
    "i is number is defined", "'a' is string and 'b' is string", "3 is divisibleby 3", "4 is divisibleby(3)",
    "s|upper|lower", "s|upper == 'HELLO WORLD'", "-neg|abs", "(-neg)|abs", "-5|abs", "1 + 2|string", "'a' ~ 'b'|upper",
    "[1, 2]|first + 5", "not list|length > 3", "list|length == 3 and true", "list | sum / 2", "2 * list|max", "1|float / 3",
    "'x'.upper() ~ 'y'", "s.split(' ')[0].lower()|upper", "(s ~ '!').lower()", "'%s' % 'a' ~ 'b'", "5 is not string",
    "5 in [1, 5] and 6 not in [5]", "'abc'[1:]|upper", "{'a': [1]}.a[0]", "[1, 2, 3][1:]|sum", "(1, 2)|list", "1 if 2 > 1",
    "9223372036854775806 + 1", "1.5 + true", "true + true", "true * 3", "'x' * true", "[1, 2][-1] ** 2", "10 ** 2", "10.0 ** 2",
    "2 ** 62", "5 % 2.5", "1e308 * 10", "0.1 * 3", "1 <= 1", "1 >= 2", "'a' <= 'a'", "1 != 1", "1 <= 'a'", "none <= none",
]  # fmt: skip

FILTERS = [
    "users|map(attribute='name')|list", "users|map(attribute='name')|join(', ')", "users|map(attribute='admin', default='?')|list",
    "users|map(attribute='tags.0', default='-')|list", "users|map(attribute='tags.0')|list", "users|map(attribute='zz')|list",
    "users|map('length')|list", "words|map('upper')|join", "words|map('replace', 'p', 'P')|list", "words|map('zz')|list",
    "words|map()|list", "words|map('upper')", "words|map('upper')|length", "words|map('upper')|first", "words|map('upper')|last",
    "list|map('string')|map('length')|sum", "users|map(attribute='age')|sum", "users|sum(attribute='age')", "list|sum(start=10)",
    "words|sum", "words|sum(start='')", "[[1], [2]]|sum(start=[])", "users|selectattr('admin')|map(attribute='name')|list",
    "users|selectattr('admin', 'defined')|list|length", "users|rejectattr('admin')|map(attribute='name')|list",
    "users|selectattr('age', 'equalto', 31)|list|length", "users|selectattr('age', 'gt', 25)|list|length",
    "users|selectattr('age', '>', 25)|list|length", "users|selectattr('name', 'in', ['Ann'])|list", "users|selectattr('zz')|list",
    "users|selectattr('tags.0', 'defined')|list|length", "users|selectattr()|list", "users|selectattr('age', 'zz')|list",
    "list|select('odd')|list", "list|select('gt', 1)|list", "list|reject('odd')|list", "mixed|select('string')|list",
    "mixed|select('number')|list", "mixed|reject('none')|list", "mixed|select|list", "list|select('divisibleby', 3)|list",
    "missing|select|list", "nil|select|list", "i|select|list", "missing|map('upper')|list", "i|map('upper')|list",
    "users|groupby('age')|list", "users|groupby('age')|map(attribute='grouper')|list", "users|groupby('age')|map('first')|list",
    "users|groupby('admin', default=false)|length", "users|groupby('admin')|length", "words|groupby('0')|list",
    "['a', 'A', 'b']|groupby('0')|list", "['a', 'A', 'b']|groupby('0', case_sensitive=true)|map('last')|list",
    "words|sort", "words|sort(case_sensitive=true)", "words|sort(true)", "users|sort(attribute='name')|map(attribute='name')|list",
    "users|sort(attribute='age,name', reverse=true)|map(attribute='name')|list", "mixed|sort", "d|sort", "s|sort", "[3, 1.5, true]|sort",
    "[[2, 1], [1, 9]]|sort", "[none, 1]|sort", "words|unique|list", "words|unique(true)|list", "users|unique(attribute='age')|list|length",
    "[1, 1.0, true]|unique|list", "[[1]]|unique|list", "words|min", "words|max", "words|max(case_sensitive=true)",
    "users|max(attribute='age')|attr('items')|string|length > 0", "(users|min(attribute='age')).name", "[]|max", "[]|min is defined",
    "[1, 'a']|max", "d|dictsort", "d|dictsort(true)", "d|dictsort(false, 'value')", "d|dictsort(by='value', reverse=true)",
    "d|dictsort(by='zz')", "list|dictsort", "d|items|list", "missing|items|list", "list|items|list", "d|items", "d|length", "d|first",
    "d|last", "d|list", "d|join(',')", "s|list", "s|first", "s|last", "s|reverse", "uni|reverse", "list|reverse", "list|reverse|first",
    "list|reverse|length", "d|reverse|list", "(words|map('upper'))|reverse|list", "i|reverse", "''|first is defined", "[]|first", "[]|last",
    "i|first", "(words|map('upper'))|first", "range(7)|batch(3)|list", "range(7)|batch(3, 'x')|list", "range(6)|batch(3)|list",
    "[]|batch(2)|list", "range(7)|slice(3)|list", "range(7)|slice(3, 'x')|list", "range(2)|slice(4)|list", "range(2)|slice(0)|list",
    "range(7)|batch(0)|list", "range(3)|batch(-1)|list", "'abc'|batch(2)|list", "list|join('-')", "users|join(', ', attribute='name')",
    "mixed|join('|')", "list|join(1)", "s|join(' ')", "missing|join", "nil|join", "[['a', 'b']]|join", "'a'|join(d='x')",
    "2.5|round", "3.5|round", "2.675|round(2)", "-2.5|round", "1234.5|round(-2)", "1250|round(-2)", "1350|round(-2)", "-1250|round(-2)",
    "15|round(-1)", "25|round(-1)", "2.123|round(1, 'ceil')", "2.123|round(1, 'floor')", "2|round(method='ceil')", "2.1|round(method='zz')",
    "7.0|round|int", "'2.5'|round", "0.5|round", "1e20|round", "1.005|round(2)", "42|round(1)", "true|round",
    "'42'|int", "'4.9'|int", "'x'|int", "'x'|int(7)", "'0x1f'|int(base=16)", "'1f'|int(0, 16)", "'101'|int(base=2)", "'0b11'|int(0, 0)",
    "' 12 '|int", "'1_000'|int", "'1__0'|int", "'-5'|int", "'+5'|int", "''|int", "none|int", "[]|int(3)", "4.9|int", "-4.9|int",
    "true|int", "missing|int", "'1e3'|int", "'inf'|int", "'nan'|int(1)", "1e400|int", "'abc'|int(0, 16)", "'9'|int(0, 8)",
    "'1.5'|float", "'x'|float", "'x'|float(2)", "' 1.5 '|float", "'inf'|float", "'-Infinity'|float", "'nan'|float", "'1_0.5'|float",
    "'0x10'|float", "none|float", "true|float", "'1e5'|float", "'.5'|float", "'5.'|float", "missing|float", "'1.5e'|float",
    "-5|abs", "-2.5|abs", "'a'|abs", "true|abs", "missing|abs", "s|truncate(5)", "s|truncate(5, true)", "s|truncate(5, true, '…')",
    "s|truncate(3, false, '')", "'foo bar baz qux'|truncate(9)", "'foo bar baz qux'|truncate(9, true)", "'foo bar baz qux'|truncate(11)",
    "'foo bar baz qux'|truncate(11, false, '...', 0)", "s|truncate(1)", "uni|truncate(4, true, '', 0)", "s|replace('l', 'L', 1)",
    "s|replace('', '.')", "5|replace(5, 6)", "s|replace('o', 0)", "s|replace('zz', 'y')", "s|replace('o')", "lines|indent", "lines|indent(2)",
    "lines|indent('> ')", "lines|indent(2, true)", "lines|indent(2, blank=true)", "lines|indent(width=1, first=true, blank=true)",
    "5|indent", "'a\\r\\nb'|indent", "''|indent(2, true)", "s|center(20)", "'ab'|center(5)", "s|wordcount", "'a-b c_d e.f'|wordcount",
    "'hello wORLD-foo (bar) [x] {y} <z> it\\'s'|title", "uni|title", "'ß'|capitalize", "''|title", "'ǆx'|capitalize",
    "s|trim('Hd')", "spaced|trim", "5|trim", "'xxaxx'|trim('x')", "quotes|e", "'<a>'|e|e", "'<a>'|escape ~ '<b>'", "('<a>'|safe) + '<b>'",
    "'<b>' + ('<a>'|safe)", "('<a>'|safe)|e", "'<a>'|safe|forceescape", "('<a>'|safe) ~ '<b>'", "('a'|safe) * 2", "('<a>'|safe)[0]",
    "('<a>'|safe).upper()", "[('<a>'|safe)]", "('<a>'|safe)|upper", "('<a>'|safe) == '<a>'", "('<a>'|safe) is escaped",
    "quotes|urlencode", "'a b/ü'|urlencode", "{'a b': 'ü&', 'c': 1}|urlencode", "[('a', 1)]|urlencode", "1000|filesizeformat",
    "1|filesizeformat", "999|filesizeformat", "1234567|filesizeformat", "1048576|filesizeformat(true)", "1e30|filesizeformat", "'x'|filesizeformat",
    "mixed|tojson", "users|tojson", "users|tojson(indent=2)", "none_dict|tojson(indent=2)", "none_list|tojson(indent=2)", "quotes|tojson",
    "uni|tojson", "uni|tojson(ensure_ascii=true)", "uni|tojson(true)", "d|tojson(sort_keys=true)", "d|tojson(separators=(',', ':'))",
    "d|tojson(indent=1, separators=(';', '='))", "d|tojson(indent='--')", "d|tojson(indent=0)", "d|tojson(indent=none)", "(1, 2)|tojson",
    "{1: 2, 1.5: 3, true: 4, none: 5}|tojson", "1e400|tojson", "[1.0, 1e16, 1e-7, 0.1]|tojson", "missing|tojson", "[missing]|tojson",
    "range(3)|tojson", "d.items()|tojson", "namespace|tojson", "'\\x7f\\x1f'|tojson(true)", "nested|tojson(indent=1)", "'a'|safe|tojson",
    "d|tojson(indent=2, sort_keys=true)", "{'b': {'z': 1, 'a': 2}}|tojson(sort_keys=true)", "{1: 1, 'a': 2}|tojson(sort_keys=true)",
    "users|attr('append')", "d|attr('a')", "d|attr('items')", "s|attr('upper')()", "missing|attr('x')", "missing|default('d')|upper",
    "nil|default('d')", "nil|default('d', true)", "''|d('e', true)", "missing.a|default('x')", "d.zz|default('x')", "zero|default(5, boolean=true)",
    "s|pprint_unknown", "1 is unknown_test", "s|upper(1)", "s|replace(old='l', new='L')", "list|join(sep=',')", "s|string|string", "nil|string",
    "d|string", "list|list|list", "words|map('first')|map('upper')|list|join('')", "'abc'|map('upper')|list", "d|map('upper')|list",
    "users|map(attribute='tags')|map('length')|list", "users|map(attribute=0)|list", "nested|map(attribute=0)|list", "nested|map(attribute='1.0')|list",
    "nested|map('sum')|list", "[1, 2]|map('float')|sum", "words|select('in', ['fig'])|list", "words|select('upper')|list",
    "users|rejectattr('age', 'lt', 30)|map(attribute='name')|sort|join", "list|sort|first", "list|sort|reverse|list", "list|sort(reverse=True)|list",
    "words|join(', ')|upper|replace('A', '4')", "(users|first).name|lower", "users|last|attr('zz') is defined",
]  # fmt: skip

FUNCTIONS = [
    "range(3)|list", "range(2, 5)|list", "range(5, 2, -1)|list", "range(0)|list", "range(3, 1)|list", "range(1, 2, 0)", "range()", "range('a')",
    "range(1.5)", "range(100001)", "range(100000)|length", "dict(a=1, b=2)", "dict(d)", "dict(d, z=1)", "dict([('a', 1)])", "dict()", "dict(5)",
    "dict(a=1).a", "namespace(a=1).a", "namespace(a=1)", "namespace(d).b", "namespace().zz", "namespace().zz.y", "namespace(a=1)['a']",
    "namespace(items=3).items", "namespace() is mapping", "joiner is callable", "range is callable", "range", "cycler()", "cycler(1, 2).next()",
    "cycler(1, 2).current", "raise_exception('stop: ' ~ s)", "raise_exception(5)", "raise_exception()", "strftime_now('%Y-%m-%d %H:%M:%S')",
    "strftime_now('%d %b %Y')", "strftime_now('%A %B %j %y %p %I %%')", "strftime_now('%-d/%-m')", "strftime_now('%z%Z.%f')", "strftime_now('')",
    "strftime_now('ü %Y')", "strftime_now()", "strftime_now(1)", "strftime_now is defined", "raise_exception is defined",
    "unknown_function()", "unknown_function is defined", "s()", "d()", "5()", "none()", "[1](0)", "range(*[1, 4])|list", "dict(**d)", "dict(a=1, **{'a': 2})",
    "dict(**5)", "range(*5)", "'{} {a}'.format(*[1], **{'a': 2})", "loop", "loop is defined", "caller is defined", "namespace.a",
]  # fmt: skip


def expressions():
    """Each as {{ expression }}."""
    groups = [STRING_CALLS, PERCENT, SUBSCRIPTS, LITERALS, OPERATORS, FILTERS, FUNCTIONS]
    found = [expression for group in groups for expression in group]
    found += [f"{operand(value)}|{name}" for name in PLAIN_FILTERS for value in VALUES]
    found += [f"{operand(value)} is {name}" for name in PLAIN_TESTS for value in VALUES]
    found += [f"{a} {op} {b}" for op in BINARY for a in OPERANDS for b in OPERANDS]
    return ["{{ " + expression + " }}" for expression in found if is_stable(expression)]


def operand(value):
    return value if value.isidentifier() or value[0] == "(" else f"({value})"


def is_stable(expression):
    """Without the address of an object in the text, and within 64 bits."""
    unstable = ("huge|int", "huge|filesize", "huge|round", "huge % ", "(words|map('upper'))|wordcount")
    if any(part in expression for part in unstable):
        return False
    # Complex numbers.
    return not (expression.startswith("-") and expression.endswith(("** 2.5", "** -0.5")))


STATEMENTS = [
    # if
    "{% if i > 5 %}a{% endif %}", "{% if i < 5 %}a{% else %}b{% endif %}",
    "{% if i < 5 %}a{% elif i == 7 %}b{% elif i == 7 %}c{% else %}d{% endif %}", "{% if missing %}a{% endif %}b",
    "{% if not missing %}a{% endif %}", "{% if list %}{% if d %}x{% endif %}{% endif %}", "{% if 1, 2 %}t{% endif %}", "{% if () %}t{% endif %}",
    "{% if: true %}x{% endif %}", "{% if true: %}x{% endif %}", "{% if true %}{% if false %}a{% else %}b{% endif %}c{% endif %}",
    # set
    "{% set x = 1 %}{{ x }}", "{% set x = 1, 2 %}{{ x }}", "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set (x, y) = [1, 2] %}{{ y }}{{ x }}",
    "{% set x, y = 1, 2, 3 %}", "{% set x, y = 5 %}", "{% set x, (y, z) = 1, (2, 3) %}{{ x ~ y ~ z }}", "{% set x = x %}{{ x }}", "{% set s = s ~ '!' %}{{ s }}",
    "{% set x %}a{{ i }}b{% endset %}[{{ x }}]", "{% set x | upper %}abc{% endset %}{{ x }}", "{% set x | replace('a', 'b') | upper %}aXa{% endset %}{{ x }}",
    "{% set x %}{% set y = 1 %}{{ y }}{% endset %}{{ x }}{{ y is defined }}", "{% set ns.x = 1 %}", "{% set d.x = 1 %}", "{% set ns = namespace() %}{% set ns.x = 1 %}{{ ns.x }}",
    "{% set ns = namespace(a=1) %}{% set ns.a, b = 2, 3 %}{{ ns.a }}{{ b }}", "{% set ns = namespace(d) %}{{ ns.a }}{% set ns.a = [ns.a] %}{{ ns.a }}{{ d.a }}",
    "{% set true = 1 %}", "{% set 1 = 2 %}", "{% set x %}", "{% set %}", "{% set x = %}", "{% set x == 1 %}", "{% set ns['x'] = 1 %}", "{% set a.b.c = 1 %}",
    "{% set x = namespace() %}{% set x.y %}text{% endset %}{{ x.y }}", "{% set x = 'a' if false %}{{ x is defined }}", "{% if true %}{% set q = 1 %}{% endif %}{{ q }}",
    "{% if false %}{% set q = 1 %}{% endif %}{{ q is defined }}", "{% if false %}{% set i = 1 %}{% endif %}{{ i }}", "{% if true %}{% set i = 1 %}{% endif %}{{ i }}",
    # for
    "{% for x in list %}{{ x }},{% endfor %}", "{% for x in list %}{{ x }}{% else %}none{% endfor %}", "{% for x in [] %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in missing %}{{ x }}{% else %}none{% endfor %}", "{% for x in nil %}{{ x }}{% endfor %}", "{% for x in 5 %}{% endfor %}", "{% for c in uni %}{{ c }}|{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for (k, v) in d|items %}{{ k }}{{ v }}{% endfor %}", "{% for a, (b, c) in [(1, (2, 3))] %}{{ a ~ b ~ c }}{% endfor %}", "{% for a, b in [1] %}{% endfor %}",
    "{% for a, b in ['xy', [1, 2]] %}{{ a }}{{ b }}{% endfor %}", "{% for x in list if x > 1 %}{{ x }}{% endfor %}", "{% for x in list if x > 9 %}{{ x }}{% else %}e{% endfor %}",
    "{% for x in list if x > 1 %}{{ loop.index }}/{{ loop.length }}{{ loop.last }} {% endfor %}", "{% for x in 1, 2, 3 %}{{ x }}{% endfor %}", "{% for x in range(3) %}{{ loop.index }}{% endfor %}",
    "{% for x in words %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}",
    "{% for x in words %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}", "{% for x in words %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% endfor %}",
    "{% for x in words %}{{ loop.cycle('a', 'b', 'c') }}{% endfor %}", "{% for x in words %}{{ loop.cycle() }}{% endfor %}", "{% for x in [1, 1, 2, 2, 1] %}{{ x if loop.changed(x) else '-' }}{% endfor %}",
    "{% for x in words|map('upper') %}{{ loop.index }}{{ x }}{{ loop.last }}{% endfor %}", "{% for x in words|map('upper') %}{{ loop.length }}{{ x }}{{ loop.revindex }}{% endfor %}",
    "{% for x in list %}{{ loop }}{% endfor %}", "{% for x in list %}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}", "{% for x in list %}{{ loop.zz }}{% endfor %}", "{% for x in list %}{{ loop.zz.y }}{% endfor %}",
    "{% for x in [1, 2] %}{% for y in [3, 4] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}", "{% for x in list %}{% set l = loop %}{% for y in [1] %}{{ l.index }}{% endfor %}{% endfor %}",
    "{% for x in list %}{% set i = x %}{{ i }}{% endfor %}{{ i }}", "{% for x in list %}{% if loop.first %}{% set q = x %}{% endif %}{{ q }}{% endfor %}", "{% for i in list %}{{ i }}{% endfor %}{{ i }}",
    "{% set q = 0 %}{% for x in list %}{% set q = q + x %}{{ q }},{% endfor %}{{ q }}", "{% set ns = namespace(t=0) %}{% for x in list %}{% set ns.t = ns.t + x %}{% endfor %}{{ ns.t }}",
    "{% for x in list %}{{ q }}{% set q = x %}{% endfor %}", "{% for x in list %}{{ i }}{% endfor %}{% set i = 1 %}", "{{ i }}{% for x in list %}{{ i }}{% endfor %}{% set i = 1 %}{{ i }}",
    "{% for x in list %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in list %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in list %}{% break %}{% else %}e{% endfor %}", "{% for x in list %}{% continue %}{% else %}e{% endfor %}", "{% for x in list %}{{ x }}{% if x == 1 %}{% break %}{% endif %}{% else %}e{% endfor %}",
    "{% for x in list %}{% for y in list %}{% break %}{% endfor %}{{ x }}{% endfor %}", "{% for x in list %}{% set z %}a{% break %}{% endset %}{{ z }}{% endfor %}after", "{% for x in list %}{% with %}{% continue %}{% endwith %}{% endfor %}after",
    "{% break %}", "{% continue %}", "{% if true %}{% break %}{% endif %}", "{% for x in list %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}", "{% for x in [1] %}a{% else %}{% break %}{% endfor %}",
    "{% for loop in list %}{% endfor %}", "{% for x in list %}{% set loop = 5 %}{{ loop }}{% endfor %}", "{% for x.y in list %}{% endfor %}", "{% for 1 in list %}{% endfor %}", "{% for x list %}{% endfor %}",
    "{% for x in %}{% endfor %}", "{% for x in list %}", "{% for x in list %}{% endif %}", "{% for x in list recursive %}{{ x }}{% endfor %}", "{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is iterable else x }}.{{ loop.depth }}{% endfor %}",
    "{% for u in [{'n': 'a', 'c': [{'n': 'b'}, {'n': 'c', 'c': []}]}] recursive %}<{{ u.n }}{% if u.c is defined %}{{ loop(u.c) }}{% else %}!{% endif %}>{% else %}leaf{% endfor %}", "{% for x in list %}{{ loop(x) }}{% endfor %}",
    "{% for x in list if loop.index > 1 %}{{ x }}{% endfor %}", "{% for x in list if not loop %}{{ x }}{% endfor %}", "{% for x in users if x.admin is defined and x.admin %}{{ x.name }}{% endfor %}", "{% for x in list %}{{ x }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for x in list if x in seen %}{% endfor %}", "{% for x in list|sort(reverse=true) %}{{ x }}{% endfor %}", "{% for x in (1 if true else 2), 3 %}{{ x }}{% endfor %}", "{% for m in users %}{% for t in m.tags %}{{ m.name }}{{ t }}{{ loop.length }}{% else %}-{% endfor %}{% endfor %}",
    "{% set g = words|map('upper') %}{% for x in g %}{{ x }}{% endfor %}{% for x in g %}{{ x }}{% endfor %}", "{% set g = words|map('upper') %}{{ g|first }}{{ g|list }}", "{% set g = words|select %}{{ 'fig' in g }}{{ g|list }}",
    "{% for x in words|map('upper') %}{% if loop.nextitem == 'FIG' %}{{ x }}{% endif %}{% endfor %}", "{% for x in list %}{{ x }}{{ loop.last and 'end' }}{% endfor %}", "{% for g in users|groupby('age') %}{{ g.grouper }}:{{ g.list|length }};{% endfor %}",
    "{% for age, us in users|groupby('age') %}{{ age }}{{ us|map(attribute='name')|join }}{% endfor %}", "{% for b in range(5)|batch(2) %}{{ b|join('+') }};{% endfor %}", "{% for i in range(3) %}{{ i }}{% endfor %}{{ i }}",
    # macros
    "{% macro m() %}x{% endmacro %}{{ m() }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1) }}{{ m(a=2) }}{{ m() }}", "{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=4, a=5) }}",
    "{% macro m(a) %}{{ a.b }}{% endmacro %}{{ m() }}", "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m(missing) }}{{ m(none) }}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{% endmacro %}{{ m(z=2) }}",
    "{% macro m(a, a=1) %}{% endmacro %}", "{% set loop = 5 %}{{ loop }}", "{% for x in list %}{% for loop in list %}{% endfor %}{% endfor %}", "{% macro m(a=1, b) %}{% endmacro %}", "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(1) }}", "{% macro m(b=i) %}{{ b }}{% endmacro %}{{ m() }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{% endmacro %}{{ m(1, 2, 3) }}", "{% macro m(a) %}{{ kwargs }}{% endmacro %}{{ m(1, b=2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}", "{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(3) }}",
    "{% macro m() %}{{ i }}{% endmacro %}{% set i = 1 %}{{ m() }}", "{% set q = 1 %}{% macro m() %}{{ q }}{% set q = 2 %}{{ q }}{% endmacro %}{{ m() }}{{ q }}{{ m() }}", "{% macro m() %}{{ later }}{% endmacro %}{{ m() }}{% set later = 1 %}{{ m() }}", "{{ m() }}{% macro m() %}x{% endmacro %}",
    "{% macro m() %}x{% endmacro %}{{ m }}", "{% macro m(a, b=1) %}{{ caller() }}{{ kwargs }}{% endmacro %}{{ m.name }}{{ m.arguments }}{{ m.caller }}{{ m.catch_kwargs }}{{ m.catch_varargs }}{{ m.zz }}", "{% macro m() %}x{% endmacro %}{{ m is callable }}{{ m() is string }}",
    "{% for x in list %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}", "{% if true %}{% macro m() %}y{% endmacro %}{% endif %}{{ m() }}", "{% for x in [1] %}{% macro m() %}y{% endmacro %}{% endfor %}{{ m() }}", "{% macro a() %}{% macro b() %}in{% endmacro %}{{ b() }}{% endmacro %}{{ a() }}",
    "{% set ns = namespace() %}{% macro a(v) %}{% macro b() %}{{ v }}{% endmacro %}{% set ns.f = b %}{% endmacro %}{{ a(1) }}{{ ns.f() }}{{ a(2) }}{{ ns.f() }}", "{% set ns = namespace() %}{% for x in list %}{% macro m() %}[{{ i }}]{% endmacro %}{% set ns.m = m %}{% endfor %}{{ ns.m() }}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in{{ i }}{% endcall %}", "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}-{{ b }}{% endcall %}", "{% macro m(x) %}{{ caller(x) }}{% endmacro %}{% call(a, b=9) m(5) %}{{ a }}{{ b }}{% endcall %}",
    "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "{% call 5 %}{% endcall %}", "{% call s.upper() %}{% endcall %}", "{% macro m(caller) %}{{ caller }}{% endmacro %}", "{% macro m(caller=none) %}{{ caller() if caller else 'no' }}{% endmacro %}{{ m() }}{% call m() %}yes{% endcall %}",
    "{% macro m() %}{% for x in list %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(v) m() %}<{{ v }}>{% endcall %}", "{% macro outer() %}{{ caller() }}{% endmacro %}{% macro inner() %}({{ caller() }}){% endmacro %}{% call outer() %}{% call inner() %}x{% endcall %}{% endcall %}",
    "{% macro m() %}{% set x = 5 %}{{ x }}{% endmacro %}{{ m() }}{{ x is defined }}", "{% macro m() %}{{ loop.index }}{% endmacro %}{% for x in list %}{{ m() }}{% endfor %}", "{% for x in list %}{% macro m() %}{{ loop.index }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m(d) %}{{ d }}{% endmacro %}{{ m([1]) }}{{ d.a }}",
    "{% macro m(a) %}{% set a = a ~ '!' %}{{ a }}{% endmacro %}{{ m('x') }}", "{% macro m(a=[]) %}{{ a }}{% endmacro %}{{ m() }}{{ m(none) }}", "{% macro m() %}  sp  {% endmacro %}[{{ m()|trim }}]", "{% macro m(**kw) %}{% endmacro %}", "{% macro 1() %}{% endmacro %}", "{% macro m %}{% endmacro %}", "{% macro m() %}",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ list|map('string')|map('upper')|join }}{{ m(*[1]) }}{{ m(**{'x': 2}) }}", "{% macro f(n) %}{{ 1 if n < 2 else n * f(n - 1)|int }}{% endmacro %}{{ f(5) }}",
    # with, filter, generation, print
    "{% with x = 1 %}{{ x }}{% endwith %}{{ x is defined }}", "{% with x = 1, y = 2 %}{{ x }}{{ y }}{% endwith %}", "{% with x = i, i = 2 %}{{ x }}{{ i }}{% endwith %}{{ i }}", "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q is defined }}", "{% with a, b = 1, 2 %}{% endwith %}", "{% with (a, b) = (1, 2) %}{{ a }}{{ b }}{% endwith %}",
    "{% with x = 1 %}{% with x = 2 %}{{ x }}{% endwith %}{{ x }}{% endwith %}", "{% filter upper %}a{{ s }}{% endfilter %}", "{% filter replace('a', 'b')|upper %}aXa{% endfilter %}", "{% filter indent(2) %}a\nb{% endfilter %}", "{% filter zz %}a{% endfilter %}", "{% filter %}a{% endfilter %}", "{% filter trim %} {% set q = 1 %}{{ q }} {% endfilter %}{{ q }}",
    "{% generation %}a{{ i }}{% endgeneration %}", "{% for x in list %}{% generation %}{{ x }}{{ loop.index }}{% endgeneration %}{% endfor %}", "{% generation %}{% set q = 1 %}{% endgeneration %}{{ q is defined }}", "{% generation %}", "{% print 1, s %}", "{% print %}x", "{% set x = 1 %}{% filter upper %}{% set x = 2 %}{{ x }}{% endfilter %}{{ x }}",
    "{% set x = 1 %}{% set y %}{% set x = 2 %}{{ x }}{% endset %}{{ x }}{{ y }}", "{% set x = 1 %}{% with %}{% set x = 2 %}{{ x }}{% endwith %}{{ x }}", "{% if true %}{% for x in list %}{% set q = x %}{% endfor %}{% endif %}{{ q is defined }}",
    # comments, raw, white space
    "a{# c #}b", "a{#- c -#}  b", "a  {#- c #} b", "a\n{# c #}\nb", "a\n  {# c #}\n  b", "{# unclosed", "{# {{ x }} {% if %} #}x", "{% raw %}{{ x }}{% if %}{% endraw %}", "a {%- raw -%} {{ x }} {%- endraw -%} b", "{% raw %}\n  x\n{% endraw %}\ny", "a\n  {% raw %}  x{% endraw %}", "{% raw %}", "{% raw -%}  x  {%- endraw %}",
    "{% raw %}{% raw %}{% endraw %}", "{%+ raw %}x{%+ endraw +%}\ny", "a\n{% if true %}\nb\n{% endif %}\nc", "  {% if true %}\n  b\n  {% endif %}\n  c", "a {% if true %} b {% endif %} c", "a\n\n{%- if true -%}\n\nb\n\n{%- endif -%}\n\nc", "a\n  {%+ if true %}\nb{% endif %}", "a\n  {%+ if true +%}\nb{% endif +%}\nc", "{% if true +%}\nb{% endif %}",
    "a\n  {{ i }}\n  b", "a  {{- i -}}  b", "a\n{{- i -}}\n\nb", "{{ i }}\n{{ i }}\n", "{{ i }}\n\n", "\n{{ i }}", "a\r\nb\rc\n", "a\r\n{% if true %}\r\nb{% endif %}", "\t{% set x = 1 %}\n{{ x }}", "x {% set x = 1 %}\n{{ x }}", "{% set x = 1 %}  \n{{ x }}", "{% set x = 1 -%}  \n {{ x }}", "{{ '{{' }}{{ '}}' }}", "{{ '{%' }}", "{ {a} } % #} %} }}",
    "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a': {'b': {}}} }}", "{{{'a': 1}}}", "{{ [{'a': 1}] }}", "{{ '}}' }}", "{{ \"%}\" }}", "{% set x = '%}' %}{{ x }}", "a{{ '' }}b", "\u00a0{% if true %}x{% endif %}", "\u00a0\u3000{%- if true %}x{% endif %}", "x{{- '' }}  y", "  {#- c -#}  x", "  {%- set x = 1 %}  x", "{{+1}}", "{{-1}}", "{{- -1}}",
    "a\n    {%- for x in list %}\n    {{ x }}\n    {%- endfor %}\nb", "{% for x in list %}\n{{ x }}\n{% endfor %}\n", "{% for x in list -%}\n  {{ x }}\n{%- endfor %}", "<ul>\n  {% for x in list %}\n    <li>{{ x }}</li>\n  {% endfor %}\n</ul>\n", "a{%- if true %} b {%- endif %} c", "{%if true%}x{%endif%}", "{%-if true-%} x {%-endif-%}", "{{s}}", "{{   s   }}", "{{\ns\n}}", "{% if\n true\n %}x{% endif %}",
    # errors of syntax
    "{{", "{{ }}", "{{ 1 + }}", "{{ (1 }}", "{{ [1 }}", "{{ 1) }}", "{{ (1] }}", "{{ 'a }}", "{{ a b }}", "{{ 1 2 }}", "{{ a. }}", "{{ a.'b' }}", "{{ a[ }}", "{{ a| }}", "{{ a|1 }}", "{{ a is }}", "{{ a is 1 }}", "{{ $ }}", "{{ a ? b }}", "{{ a ! b }}", "{{ a = b }}", "{{ a := b }}", "{% %}", "{% foo %}", "{% endif %}", "{% if %}x{% endif %}", "{% if true %}",
    "{% if true %}{% else %}{% else %}{% endif %}", "{% if true %}{% elif %}{% endif %}", "{% else %}", "{{ f(a=1, 2) }}", "{{ f(a=1, a=2) }}", "{{ f(*a, *b) }}", "{{ f(**a, b) }}", "{{ f(,) }}", "{{ f(1,) }}", "{{ [,] }}", "{{ {,} }}", "{{ {'a'} }}", "{{ {'a': } }}", "{{ a if }}", "{{ a else b }}", "{{ not }}", "{{ a not b }}", "{{ 1 < }}", "{{ a ~ }}", "{{ 01 }}", "{{ 1__0 }}", "{{ 0x }}", "{{ 1e }}",
    "{{ '\\x4' }}", "{{ '\\u12' }}", "{{ '\\U00110000' }}", "{{ a..b }}", "{{ a...b }}", "{{ a is b is c }}", "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% do x %}", "{% set x = 1 %", "{{ 1 }", "{% if true %}a{% endfor %}", "{{ @ }}", "{{ a & b }}", "{{ lambda x: x }}", "{{ [x for x in y] }}", "{{ a if b else }}", "{{ loop.index }}", "{{ s|upper() }}", "{{ s|upper()() }}",
    # names of filters and tests that do not exist
    "{{ 1|zz }}", "{% if false %}{{ 1|zz }}{% endif %}x", "{% if true %}{{ 1|zz }}{% endif %}", "{{ 1|zz if false else 2 }}", "{{ 1 is zz if false else 2 }}", "{% if false %}{% for x in list %}{{ 1|zz }}{% endfor %}{% endif %}", "{% for x in [] %}{{ 1|zz }}{% endfor %}", "{% if 'zz' is filter and 1|zz %}{% endif %}x", "{{ 'upper' is filter }}{{ 'odd' is test }}{{ 'zz' is test }}",
    # mixed
    "{% set x = [] %}{% for i in range(3) %}{% set x = x + [i] %}{% endfor %}{{ x }}", "{% set ns = namespace(x=[]) %}{% for i in range(3) %}{% set ns.x = ns.x + [i] %}{% endfor %}{{ ns.x }}", "{% set j = joiner('|') %}{% for x in list %}{{ j() }}{{ x }}{% endfor %}", "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.next() }}",
    "{% set ns = namespace() %}{% set ns.n = ns %}{{ ns.n.n is sameas ns }}", "{% set f = s.upper %}{{ f() }}", "{% set f = '{}-{}'.format %}{{ f(1, 2) }}", "{% set f = range %}{{ f(2)|list }}", "{% set x = raise_exception %}{{ x('no') }}", "{% if messages is not defined %}{{ raise_exception('messages missing') }}{% endif %}", "{{ raise_exception('ünï\n\"x\"') }}",
    "{% for m in users if m.age > 30 %}{% set name = m.name|upper %}{{ loop.index0 }}{{ name }}{% if not loop.last %}, {% endif %}{% endfor %}", "{% set content = '<think>a</think>b' %}{% if '</think>' in content %}{{ content.split('</think>')[-1].lstrip('\n') }}{% endif %}", "{{ {'role': 'user'}.role + '\\n' }}", "{{ dict(role='x')|tojson }}",
    "{% set d2 = dict(d, z=26) %}{{ d2 }}{{ d }}", "{{ users[::-1]|map(attribute='name')|list }}", "{{ (users|selectattr('name', 'equalto', 'bob')|list)[0].age }}", "{{ (users|selectattr('name', 'equalto', 'bob')|first).age }}", "{{ users|selectattr('name', 'equalto', 'zz')|first is defined }}", "{% set u = users[1] %}{{ u['name'] if u.tags else u.name ~ '!' }}",
]  # fmt: skip


def statements():
    return STATEMENTS
