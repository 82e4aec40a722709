//! Every function, by table.

use crate::support::{check, check_fails};

#[test]
fn strings() {
    check("'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo')", "true");
    check("'hello'.contains('')", "true");
    check("'AbÄ'.lowerAscii()", r#""abÄ""#);
    check("'abä'.upperAscii()", r#""ABä""#);
    check("'  a b '.trim()", r#""a b""#);
    check("'äbc'.charAt(0)", r#""ä""#);
    check("'äbc'.charAt(3)", r#""""#);
    check("'äbcd'.substring(1, 3)", r#""bc""#);
    check("'äbcd'.substring(4)", r#""""#);
    check("'äbcbc'.indexOf('bc')", "1");
    check("'äbcbc'.indexOf('bc', 2)", "3");
    check("'äbcbc'.lastIndexOf('bc')", "3");
    check("'abc'.indexOf('x')", "-1");
    check("'a-b-c'.replace('-', '+')", r#""a+b+c""#);
    check("'a-b-c'.replace('-', '+', 1)", r#""a+b-c""#);
    check("'ab'.replace('', '.')", r#"".a.b.""#);
    check("'a,b,,c'.split(',')", r#"["a","b","","c"]"#);
    check("'a,b,c'.split(',', 2)", r#"["a","b,c"]"#);
    check("'a,b,c'.split(',', 0)", "[]");
    check("'aä'.split('')", r#"["a","ä"]"#);
    check("'abc'.split('', 2)", r#"["a","bc"]"#);
    check("['a', 'b'].join()", r#""ab""#);
    check("['a', 'b'].join(', ')", r#""a, b""#);
    check("'äb'.reverse()", r#""bä""#);
    check("size('Jürgen') == 6 && 'Jürgen'.size() == 6", "true");
    check_fails("'abc'.charAt(4)", "position 4 is out of range in a string of 3 characters");
    check_fails("'abc'.substring(2, 1)", "ends before it starts");
    check_fails("'abc'.substring(-1)", "-1 is negative");
    check_fails("[1].join()", "item 0 is none");
    check_fails("event.data.amount.contains('1')", "`contains()` does not take int and string");
}

#[test]
fn patterns() {
    check("'ORD-123'.matches('^ORD-[0-9]+$')", "true");
    check("'xORD-123'.matches('^ORD')", "false");
    check("matches('abc', 'b')", "true");
    check("'a@b.com'.matches(r'^[\\w.+-]+@[\\w-]+\\.[\\w.]+$')", "true");
    check("'abc'.matches('^' + 'a')", "true");
    check_fails("'abc'.matches('(' + 'a')", "the pattern is wrong");
    check_fails("event.data.amount.matches('1')", "`matches()` does not take int and string");
}

#[test]
fn sizes_and_lists() {
    check("[1, 2].size() == 2 && size({'a': 1}) == 1 && b'abc'.size() == 3", "true");
    check("event.data.items.size()", "3");
    check("[1, 2, 3, 4].slice(1, 3)", "[2,3]");
    check("[1, [2, [3]], []].flatten()", "[1,2,[3]]");
    check("[1, 1.0, 2, 'a', 'a'].distinct()", r#"[1,2,"a"]"#);
    check("[3, 1, 2.5].sort()", "[1,2.5,3]");
    check("['b', 'a'].sort()", r#"["a","b"]"#);
    check("[].sort()", "[]");
    check("[1, 2].reverse()", "[2,1]");
    check("lists.range(3)", "[0,1,2]");
    check_fails("[1, 'a'].sort()", "items of one type");
    check_fails("[1].slice(0, 2)", "out of range in a list of 1 items");
    check_fails("size(1)", "`size()` does not take int");
}

#[test]
fn numbers() {
    check("math.greatest(1, 2.5, 2u)", "2.5");
    check("math.least([3, 1, 2])", "1");
    check("math.greatest(5)", "5");
    check("math.abs(-3) == 3 && math.abs(-1.5) == 1.5", "true");
    check("math.ceil(1.2)", "2.0");
    check("math.floor(-1.2)", "-2.0");
    check("math.round(2.5)", "3.0");
    check("math.round(-2.5)", "-3.0");
    check("math.trunc(-1.9)", "-1.0");
    check("math.floor(event.data.amount)", "100");
    check("math.sign(-3)", "-1");
    check("math.round(event.data.amount * 1.19 * 100.0) / 100", "119.0");
    check_fails("math.greatest([])", "an empty list");
    check_fails("math.greatest('a', 1)", "`math.greatest()` does not take string and int");
    check_fails("math.abs(-9223372036854775807 - 1)", "does not fit 64 bits");
}

#[test]
fn conversions() {
    check("int('42') + int(3.9) + int(-3.9) + int(7u)", "49");
    check("uint(3) == 3u && uint('4') == 4u && uint(2.9) == 2u", "true");
    check("double(3) == 3.0 && double('1.5') == 1.5 && double(2u) == 2.0", "true");
    check(
        "string(1) + string(1.0) + string(1.5) + string(2u) + string(true) + string('x') + string(b'y')",
        r#""111.52truexy""#,
    );
    check("string(timestamp('2026-05-04T12:30:00+02:00'))", r#""2026-05-04T10:30:00Z""#);
    check("string(duration('1h30m'))", r#""5400s""#);
    check("bool('true') && !bool('F'.lowerAscii())", "true");
    check("string(bytes('ä'))", r#""ä""#);
    check("base64.encode(b'hello')", r#""aGVsbG8=""#);
    check("string(base64.decode('aGVsbG8'))", r#""hello""#);
    check("dyn([1])[0]", "1");
    check("type(1) == int && type('a') == string && type(1.0) == double && type(null) == null_type", "true");
    check(
        "type([]) == list && type({}) == map && type(1u) == uint && type(b'') == bytes && type(true) == bool",
        "true",
    );
    check("type(timestamp(0)) == google.protobuf.Timestamp", "true");
    check_fails("int('4x')", "\"4x\" is no int");
    check_fails("int(1e19)", "does not fit an int");
    check_fails("int(9223372036854775808u)", "does not fit an int");
    check_fails("uint(-1)", "does not fit a uint");
    check_fails("uint(-0.5)", "does not fit a uint");
    check_fails("bool('yes')", "is no bool");
    check_fails("string(null)", "`string()` does not take null");
    check_fails("string(b'\\xff')", "not UTF-8");
    check_fails("base64.decode('?')", "not base64");
}

#[test]
fn times() {
    let berlin = "timestamp('2026-05-04T22:30:15.250Z').";
    check(&format!("{berlin}getFullYear()"), "2026");
    check(&format!("{berlin}getMonth()"), "4");
    check(&format!("{berlin}getDate()"), "4");
    check(&format!("{berlin}getDayOfMonth()"), "3");
    check(&format!("{berlin}getDayOfWeek()"), "1");
    check(&format!("{berlin}getDayOfYear()"), "123");
    check(&format!("{berlin}getHours()"), "22");
    check(&format!("{berlin}getHours('Europe/Berlin')"), "0");
    check(&format!("{berlin}getDate('+02:00')"), "5");
    check(&format!("{berlin}getHours('-02:30')"), "20");
    check(&format!("{berlin}getMinutes()"), "30");
    check(&format!("{berlin}getSeconds()"), "15");
    check(&format!("{berlin}getMilliseconds()"), "250");
    check("timestamp(event.time) + duration('90m')", r#""2026-05-04T14:00:00Z""#);
    check("timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z')", r#""86400s""#);
    check("duration('1.5h').getMinutes()", "90");
    check("duration('90s').getHours() + duration('90s').getSeconds()", "90");
    check("duration('1h') - duration('1ns')", r#""3599.999999999s""#);
    check("-duration('1m')", r#""-60s""#);
    check("int(timestamp('1970-01-01T00:01:00Z'))", "60");
    check("timestamp(60)", r#""1970-01-01T00:01:00Z""#);
    check_fails("timestamp('yesterday')", "no RFC 3339 timestamp");
    check_fails("timestamp('9999-12-31T23:59:59Z')", "out of range");
    check_fails("timestamp(9223372036854775807)", "out of range");
    check_fails("timestamp('2262-01-01T00:00:00Z') + duration('2000000h')", "out of range");
    check_fails("duration('5')", "no duration");
    check_fails("duration('1y')", "no duration");
    check_fails("duration('')", "no duration");
    check_fails("duration('.s')", "no duration");
    check_fails("duration('99999999999999999999h')", "no duration");
    check_fails("timestamp(0).getHours('Mars/Olympus')", "unknown time zone");
}
