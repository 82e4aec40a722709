//! Operators and loops.

use crate::support::{check, check_fails};

#[test]
fn arithmetic_of_whole_numbers() {
    check("1 + 2 * 3 - 4", "3");
    check("7 / 2", "3");
    check("-7 / 2", "-3");
    check("-7 % 2", "-1");
    check("10u - 3u", "7");
    check("event.data.amount - 1", "99");
    check("2 - 3 - 4", "-5");
    check("(2 - 3) * (4 - 6) / 2 + 1", "2");
    check("-event.data.amount", "-100");
    check("- -5", "5");
    check("9223372036854775807 + 0", "9223372036854775807");
    check_fails("9223372036854775807 + 1", "does not fit 64 bits");
    check_fails("-9223372036854775807 - 2", "does not fit 64 bits");
    check_fails("9223372036854775807 * 9223372036854775807", "does not fit 64 bits");
    check_fails("18446744073709551615u * 18446744073709551615u", "does not fit 64 bits");
    check_fails("-(-9223372036854775807 - 1)", "does not fit 64 bits");
    check_fails("(-9223372036854775807 - 1) / -1", "does not fit 64 bits");
    check_fails("3u - 4u", "does not fit 64 bits");
    check_fails("1 / 0", "division by zero, at column 3 of `1 / 0`");
    check_fails("1 % 0", "division by zero");
    check_fails("-1u", "`-` does not take uint");
}

#[test]
fn numbers_of_different_types_mix() {
    check("event.data.amount * 1.19", "119.0");
    check("1.5 + 1", "2.5");
    check("1 - 0.5", "0.5");
    check("1 + 2u", "3");
    check("3u - 4", "-1");
    check("event.data.big - 1", "18446744073709551614");
    check("event.data.big + 0.0", "1.8446744073709552e19");
    check_fails("event.data.big + 1", "does not fit 64 bits");
    check_fails("5 % 2.0", "`%` takes whole numbers");
}

#[test]
fn results_are_finite() {
    check_fails("1.0 / 0.0", "division by zero");
    check_fails("1 / 0.0", "division by zero");
    check_fails("1e308 * 10.0", "not a finite number");
    check_fails("double('NaN')", "no double");
    check_fails("double('inf')", "no double");
    check_fails("double('1e999')", "no double");
}

#[test]
fn joining() {
    check("'a' + 'b' + 'c'", r#""abc""#);
    check("event.data.id + '/' + string(event.data.amount) + '/' + event.data.country", r#""o-1/100/DE""#);
    check("[1] + [2, 3]", "[1,2,3]");
    check("b'ab' + b'c'", r#""YWJj""#);
    check_fails("'a' + 1", "`+` does not take string and int, at column 5");
    check_fails("'a' + 'b' + 1", "`+` does not take string and int");
    check_fails("'a' * 2", "`*` does not take string and int");
    check_fails("{} + {}", "`+` does not take map and map");
}

#[test]
fn comparisons() {
    check("1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3 && 1 != 2 && 1 == 1", "true");
    check("'a' < 'b'", "true");
    check("1 == 1.0 && 1u == 1 && 1.5 > 1 && -1 < 1u", "true");
    check("9007199254740993 == 9007199254740992.0", "false");
    check("9007199254740993 > 9007199254740992.0", "true");
    check("event.data.big > 9223372036854775807", "true");
    check("false < true", "true");
    check("b'a' < b'b'", "true");
    check("1 == 'a'", "false");
    check("null == null", "true");
    check("event.data.none == null", "true");
    check("[1, 2.0, {'a': 3}] == [1.0, 2, {'a': 3u}]", "true");
    check("{'a': 1, 'b': 2} == {'b': 2, 'a': 1}", "true");
    check("event.data.customer == event.data.customer", "true");
    check("event.data.customer.tags == ['vip', 'eu']", "true");
    check("timestamp('2026-01-01T00:00:00Z') < timestamp('2026-01-01T00:00:00.5Z')", "true");
    check("duration('1m') == duration('60s')", "true");
    check_fails("1 < 'a'", "`<` does not take int and string, at column 3");
    check_fails("event.data.customer < 3", "`<` does not take map and int");
    check_fails("null < 1", "`<` does not take null and int");
}

#[test]
fn a_deciding_operand_absorbs_the_failures_of_the_others() {
    check("true || event.data.gone == 1", "true");
    check("event.data.gone == 1 || true", "true");
    check("false && event.data.gone == 1", "false");
    check("event.data.gone == 1 && false", "false");
    check("1 / 0 > 1 || 'a' < 1 || true", "true");
    check("'no bool' && false", "false");
    check("!(true && false)", "true");
    check_fails("event.data.gone == 1 || false", "no such field `gone` in event.data");
    check_fails("true && event.data.gone == 1", "no such field `gone`");
    check_fails("1 && true", "`&&` does not take int");
    check_fails("!1", "`!` does not take int");
}

#[test]
fn choosing() {
    check("event.data.amount > 50 ? 'large' : 'small'", r#""large""#);
    check("false ? 1 / 0 : 2", "2");
    check("true ? 1 : false ? 2 : 3", "1");
    check("false ? 1 : false ? 2 : 3", "3");
    check_fails("1 ? 2 : 3", "`? :` does not take int");
}

#[test]
fn membership() {
    check("2 in [1, 2, 3]", "true");
    check("2 in [1.0, 2.0]", "true");
    check("'x' in [1, 'y']", "false");
    check("'vip' in event.data.customer.tags", "true");
    check("'name' in event.data.customer", "true");
    check("'key-with-dash' in event.data", "true");
    check("'gone' in event.data", "false");
    check("{'a': 1} in [{'a': 1}]", "true");
    check_fails("1 in 'abc'", "`in` does not take int and string");
}

#[test]
fn fields_and_items() {
    check("event.data.customer.deep.er.est", "1");
    check("event.data.items[1].sku", r#""b""#);
    check("event.data['key-with-dash']", "7");
    check("event.data.`key-with-dash`", "7");
    check("event.data[event.data.amount > 1 ? 'id' : 'name']", r#""o-1""#);
    check("event.data.items[event.data.items.size() - 1].n", "3");
    check("[[1, 2], [3]][0][1]", "2");
    check("{'a': {'b': 5}}.a.b", "5");
    check("[1, 2][1.0]", "2");
    check_fails("event.data.customer.gone", "no such field `gone` in event.data.customer, at column");
    check_fails("event.data.gone.a.b", "no such field `gone` in event.data,");
    check_fails("event.data.id.x", "no field `x` in event.data.id: it is string, not an object");
    check_fails("event.data.none.x", "no field `x` in event.data.none: it is null, not an object");
    check_fails("event.data.items[7]", "there is no item 7 in event.data.items, which has 3 items");
    check_fails("event.data.items[-1]", "there is no item -1");
    check_fails("event.data.items['a']", "it is list, not an object");
    check_fails("event.data.customer[0]", "its keys are strings, not int");
    check_fails("[1][5]", "there is no item 5 in the value, which has 1 items");
    check_fails("[1]['a' + 'b']", "`[ ]` does not take list and string");
    check_fails("'abc'[0]", "no item 0 in the value: it is string, not list");
}

#[test]
fn presence() {
    check("has(event.data.amount)", "true");
    check("has(event.data.gone)", "false");
    check("has(event.data.none)", "true");
    check("has(event.data.customer.deep.er)", "true");
    check("has(event.headers.x) && !has(event.headers.y)", "true");
    check("has(event.time) && !has(event.subject) && has(event.key)", "true");
    check("has({'a': 1}.a)", "true");
    check("event.data.items.filter(i, has(i.price)).size()", "2");
    check_fails("has(event.data.gone.x)", "no such field `gone` in event.data");
    check_fails("has(event.data.id.x)", "it is string, not an object");
}

#[test]
fn lists_and_objects() {
    check("[1, 'a', [null], {'x': true}]", r#"[1,"a",[null],{"x":true}]"#);
    check("{'a': 1, 'b' + 'c': event.data.amount}", r#"{"a":1,"bc":100}"#);
    check("[]", "[]");
    check("{}", "{}");
    check_fails("{1: 2}", "the keys of objects are strings, not int");
    check_fails("{'a': 1, 'a': 2}", "the key `a` comes twice");
}

#[test]
fn loops() {
    check("event.data.items.exists(i, i.sku == 'b')", "true");
    check("event.data.items.all(i, i.n > 0)", "true");
    check("event.data.items.exists_one(i, i.n == 1)", "true");
    check("event.data.items.existsOne(i, i.n > 1)", "false");
    check("event.data.items.filter(i, i.n > 1).map(i, i.sku)", r#"["a","c"]"#);
    check("event.data.items.map(i, i.n > 1, i.n * 10)", "[20,30]");
    check("event.data.items.map(i, i.n).exists(n, n == 3)", "true");
    check("event.data.customer.map(k, k)", r#"["name","tags","deep"]"#);
    check("event.data.customer.exists(k, k == 'tags')", "true");
    check("[].all(x, false)", "true");
    check("[].exists(x, true)", "false");
    check("[1, 2].map(x, [3, 4].map(y, x * y))", "[[3,4],[6,8]]");
    check("[1, 2].map(x, [x].map(x, x * 10)[0] + x)", "[11,22]");
    check("[1, 2].map(event, event + 1)", "[2,3]");
}

#[test]
fn loops_with_two_variables() {
    check("[5, 6].transformList(i, v, i * v)", "[0,6]");
    check("[5, 6].transformList(i, v, i > 0, v)", "[6]");
    check("{'a': 1, 'b': 2}.transformMap(k, v, v * 2)", r#"{"a":2,"b":4}"#);
    check("{'a': 1, 'b': 2}.transformMap(k, v, k == 'b', v)", r#"{"b":2}"#);
    check("{'a': 1}.transformList(k, v, k + string(v))", r#"["a1"]"#);
    check("[5, 6].exists(i, v, i == 1 && v == 6)", "true");
    check("{'a': 1}.all(k, v, k == 'a' && v == 1)", "true");
    check_fails("[1].transformMap(i, v, v)", "transformMap() takes an object");
}

#[test]
fn a_deciding_item_absorbs_the_failures_of_the_others() {
    check("event.data.items.exists(i, i.price > 10)", "true");
    check("event.data.items.all(i, i.price > 100)", "false");
    check("[1, 0].exists(x, 1 / x == 1)", "true");
    check("[0, 1].exists(x, 1 / x == 1)", "true");
    check_fails("event.data.items.exists(i, i.price > 100)", "no such field `price` in i");
    check_fails("event.data.items.filter(i, i.price > 1)", "no such field `price` in i");
    check_fails("event.data.items.exists_one(i, i.price > 1)", "no such field `price`");
    check_fails("[1].filter(x, x)", "`filter()` does not take int");
    check_fails("'abc'.map(c, c)", "`map()` does not take string");
}
