//! Which route is found: one table a rule.

use super::check;

#[test]
fn a_name_goes_before_a_suffix_and_a_longer_suffix_before_a_shorter() {
    check(
        &["shop.example /", "*.shop.example /", "*.eu.shop.example /", "/"],
        &[
            ("shop.example /", "shop.example /"),
            ("SHOP.Example /", "shop.example /"),
            ("shop.example. /", "shop.example /"),
            ("a.shop.example /", "*.shop.example /"),
            ("a.b.shop.example /", "*.shop.example /"),
            ("eu.shop.example /", "*.shop.example /"),
            ("a.EU.shop.example. /", "*.eu.shop.example /"),
            ("myshop.example /", "/"),
            ("/", "/"),
        ],
    );
}

#[test]
fn a_host_without_a_route_for_the_path_leaves_it_to_less_specific_ones() {
    check(
        &["a.shop.example /one", "*.shop.example /two", "/three", "[::1] /six"],
        &[
            ("a.shop.example /one", "a.shop.example /one"),
            ("a.shop.example /two", "*.shop.example /two"),
            ("a.shop.example /three", "/three"),
            ("a.shop.example /four", "404"),
            ("b.shop.example /one", "404"),
            ("[::1] /six", "[::1] /six"),
        ],
    );
}

#[test]
fn literals_go_before_parameters_and_those_before_the_rest() {
    check(
        &["/users/me", "/users/{id}", "/users/{*rest}", "/users/{id}/orders", "/{*all}"],
        &[
            ("/users/me", "/users/me"),
            ("/users/7", "/users/{id} id=7"),
            ("/users/7/orders", "/users/{id}/orders id=7"),
            ("/users/me/orders", "/users/{id}/orders id=me"),
            ("/users/7/cart", "/users/{*rest} rest=7/cart"),
            ("/users", "/users/{*rest} rest="),
            ("/users/", "/users/{*rest} rest="),
            ("/users//", "/users/{*rest} rest=/"),
            ("/other/x", "/{*all} all=other/x"),
            ("/", "/{*all} all="),
            ("OPTIONS *", "/{*all} all="),
        ],
    );
}

#[test]
fn the_first_segment_that_differs_decides() {
    check(
        &["/a/{x}/c", "/a/b/{*rest}", "/{x}/b/c"],
        &[
            ("/a/b/c", "/a/b/{*rest} rest=c"),
            ("/a/x/c", "/a/{x}/c x=x"),
            ("/z/b/c", "/{x}/b/c x=z"),
        ],
    );
}

#[test]
fn without_a_rest_the_number_of_segments_is_the_same() {
    check(
        &["/a/b", "/c/", "/d/{id}"],
        &[
            ("/a/b", "/a/b"),
            ("/a/b/", "404"),
            ("/a", "404"),
            ("/a/b/c", "404"),
            ("/c/", "/c/"),
            ("/c", "404"),
            ("/d/", "404"),
            ("/d/1/", "404"),
        ],
    );
}

#[test]
fn escapes_do_not_hide_a_literal_and_an_escaped_slash_does_not_cut() {
    check(
        &["/admin", "/café", "/at@home", "/two%20words", "/f/{name}", "~^/v[0-9]+~x$"],
        &[
            ("/%61dmin", "/admin"),
            ("/%61%64%6D%69%6e", "/admin"),
            ("/caf%C3%A9", "/café"),
            ("/caf%c3%a9", "/café"),
            ("/at%40home", "/at@home"),
            ("/two%20words", "/two%20words"),
            ("/f/a%2Fb", "/f/{name} name=a%2Fb"),
            ("/%76%31%7Ex", "~^/v[0-9]+~x$"),
            ("/admin%2F", "404"),
            ("/Admin", "404"),
        ],
    );
}

#[test]
fn regular_expressions_come_after_templates_in_the_order_of_the_file() {
    check(
        &["/{*all}", "~^/a/[0-9]+$", "~^/a/", "/a/7", "~(?i)\\.PHP$"],
        &[
            ("/a/7", "/a/7"),
            ("/a/8", "~^/a/[0-9]+$"),
            ("/a/x", "~^/a/"),
            ("/b/a/8", "/{*all} all=b/a/8"),
            ("/b/index.php", "~(?i)\\.PHP$"),
        ],
    );
}

#[test]
fn a_single_regular_expression_is_found_without_a_set() {
    check(
        &["GET ~^/a/[0-9]+$", "POST ~^/a/[0-9]+$"],
        &[
            ("POST /a/1", "POST ~^/a/[0-9]+$"),
            ("HEAD /a/1", "GET ~^/a/[0-9]+$"),
            ("/a/x", "404"),
            ("PUT /a/1", "405 GET,HEAD,POST"),
        ],
    );
}

#[test]
fn more_conditions_go_first_and_a_failing_one_leaves_the_call_to_the_others() {
    check(
        &["/a", "/a x:1", "/a x:1 y:*", "GET /a", "/a ?q=1", "/{any} x:2", "POST /b", "/b x:9"],
        &[
            ("PUT /a", "/a"),
            ("PUT /a x:1", "/a x:1"),
            ("PUT /a X:1 y:", "/a x:1 y:*"),
            ("PUT /a ?q=1", "/a ?q=1"),
            ("PUT /a x:1 ?q=1", "/a x:1"),
            ("GET /a x:1 y:2", "GET /a"),
            ("PUT /a x:2", "/a"),
            ("PUT /c x:2", "/{any} x:2 any=c"),
            ("POST /b x:2", "POST /b"),
            ("GET /b x:2", "/{any} x:2 any=b"),
        ],
    );
}

#[test]
fn headers_and_query_are_compared_as_said() {
    check(
        &["/ accept:~json", "/ user-agent:curl", "/ ?tag=a+b", "/ ?flag=*", "/ ?n=~^[0-9]+$"],
        &[
            ("/ Accept:application/json", "/ accept:~json"),
            ("/ accept:text/html accept:text/json", "/ accept:~json"),
            ("/ User-Agent:curl", "/ user-agent:curl"),
            ("/ User-Agent:Curl", "404"),
            ("/ ?tag=a%2Bb", "/ ?tag=a+b"),
            ("/ ?tag=a+b", "404"),
            ("/ ?x=1&flag", "/ ?flag=*"),
            ("/ ?fl%61g=1", "/ ?flag=*"),
            ("/ ?n=x&n=12", "/ ?n=~^[0-9]+$"),
            ("/ ?n=12x", "404"),
        ],
    );
}

#[test]
fn what_must_not_be_is_compared_too() {
    check(
        &["/a x-version:!", "/a x-version:~^[12]$", "/b x:!~^(1|2)$", "/b x:1", "/c ?q=!1 ?r=!*"],
        &[
            ("/a", "/a x-version:!"),
            ("/a X-Version:2", "/a x-version:~^[12]$"),
            ("/a x-version:3", "404"),
            ("/b", "/b x:!~^(1|2)$"),
            ("/b x:3 x:12", "/b x:!~^(1|2)$"),
            ("/b x:1", "/b x:1"),
            ("/b x:3 x:2", "404"),
            ("/c", "/c ?q=!1 ?r=!*"),
            ("/c ?q=2", "/c ?q=!1 ?r=!*"),
            ("/c ?q=2&q=1", "404"),
            ("/c ?r=", "404"),
        ],
    );
}

#[test]
fn a_wrong_method_is_told_from_a_wrong_path() {
    check(
        &["GET /a", "PUT,DELETE /{x}", "POST shop.example /a", "PATCH /a z:1"],
        &[
            ("HEAD /a", "GET /a"),
            ("POST /a", "405 GET,HEAD,PUT,DELETE"),
            ("PATCH shop.example /a", "405 POST,GET,HEAD,PUT,DELETE"),
            ("OPTIONS /b", "405 PUT,DELETE"),
            ("PATCH /a z:1", "PATCH /a z:1"),
            ("POST /a/b", "404"),
        ],
    );
}

#[test]
fn a_route_without_conditions_takes_what_no_other_does() {
    check(
        &["", "GET /a", "~^/b"],
        &[("POST /a", "any"), ("GET /a", "GET /a"), ("/b", "~^/b"), ("OPTIONS *", "any")],
    );
}
