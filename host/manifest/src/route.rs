//! HTTP routes: which component answers a path.
//!
//! A route is a list of segments: a literal, or `:name` for any single non-empty segment. `...` at the end (or `*`, its
//! older form) matches any rest of the path, including none. If several routes match a path, the first segment in which
//! they differ decides: a literal wins over a parameter, and a parameter over the wildcard. So an exact route wins over
//! a wildcard, and a longer prefix over a shorter one, as in Spin. A trailing slash is ignored, but a wildcard passes
//! it on.
//!
//! Why no routing library: Spin's own, `routefinder` 0.6, answers `/foobar` by the route `/foo/...`, panics on a `*`
//! in the middle and allocates for each request; `matchit` 0.9 refuses `/...` beside `/:id`, which Spin accepts.
//! An application has tens of routes, so they are sorted once and tried in order, without an allocation.
//!
//! Refused: a parameter that is only a part of a segment, a wildcard before the end, two routes of the same shape.

use std::fmt;

/// A parsed route.
#[derive(Clone, PartialEq, Eq)]
pub struct RoutePattern {
    text: String,
    segments: Vec<Segment>,
    wildcard: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Param(String),
}

impl RoutePattern {
    /// Reads a route.
    ///
    /// # Errors
    /// The mistake and the fix.
    pub fn parse(text: &str) -> Result<Self, (String, String)> {
        let absolute = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
        if let Some(bad) =
            absolute.chars().find(|c| matches!(c, '?' | '#' | '\\') || c.is_whitespace() || c.is_control())
        {
            let fix = "write the path only, percent-encoded where needed: `/api/products`";
            return Err((format!("route `{text}` contains {bad:?}, which no path can contain"), fix.to_owned()));
        }
        let mut wildcard = false;
        let mut segments = Vec::new();
        let trimmed = absolute.strip_suffix('/').unwrap_or(&absolute);
        let mut parts = trimmed.split('/').skip(1).peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            match part {
                "..." | "*" if last => wildcard = true,
                "..." | "*" => {
                    let message = format!("route `{text}` has a wildcard that is not at its end");
                    return Err((message, "use `:name` for one segment, and `...` only at the end".to_owned()));
                }
                "" => {
                    let message = format!("route `{text}` has an empty segment");
                    return Err((message, "write one `/` between two segments".to_owned()));
                }
                _ => segments.push(Segment::parse(part, text)?),
            }
        }
        let text = if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() };
        let pattern = RoutePattern { text, segments, wildcard };
        let mut names: Vec<_> = pattern.params().collect();
        names.sort_unstable();
        if let Some([name, _]) = names.array_windows().find(|[a, b]| a == b) {
            let message = format!("route `{}` has two parameters `:{name}`", pattern.text);
            return Err((message, "give each parameter a name of its own".to_owned()));
        }
        Ok(pattern)
    }

    /// The route `/...`, which matches every path.
    pub fn everything() -> Self {
        RoutePattern { text: "/...".to_owned(), segments: Vec::new(), wildcard: true }
    }

    /// The route as written: Spin's `spin-matched-route` and `spin-raw-component-route`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The route without its wildcard: Spin's `spin-component-route`.
    pub fn prefix(&self) -> &str {
        if !self.wildcard {
            return &self.text;
        }
        self.text.strip_suffix("/...").or_else(|| self.text.strip_suffix("/*")).unwrap_or(&self.text)
    }

    /// The names of the parameters, in order.
    pub fn params(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Param(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }

    /// Whether both routes match the same paths with equal rank, so that no rule could choose between them.
    pub fn same_shape(&self, other: &RoutePattern) -> bool {
        let same = |(a, b): (&Segment, &Segment)| match (a, b) {
            (Segment::Literal(a), Segment::Literal(b)) => a == b,
            (Segment::Param(_), Segment::Param(_)) => true,
            _ => false,
        };
        self.wildcard == other.wildcard
            && self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(same)
    }

    /// Whether all paths of the route are under `/.well-known/spin/` or `/.well-known/souk/`, which the host answers
    /// itself.
    pub fn is_reserved(&self) -> bool {
        ["/.well-known/spin/", "/.well-known/souk/"].iter().any(|own| self.text.starts_with(own))
    }

    /// The rest of `path` after the segments, if the route matches.
    fn fits<'p>(&self, path: &'p str) -> Option<&'p str> {
        let mut rest = path;
        for segment in &self.segments {
            let opened = rest.strip_prefix('/')?;
            let (part, behind) = opened.split_at(opened.find('/').unwrap_or(opened.len()));
            let fits = match segment {
                Segment::Literal(literal) => literal == part,
                Segment::Param(_) => !part.is_empty(),
            };
            if !fits {
                return None;
            }
            rest = behind;
        }
        (self.wildcard || rest.is_empty() || rest == "/").then_some(rest)
    }

    /// The order in which routes are tried: smaller first.
    fn rank(&self) -> Vec<u8> {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Param(_) => 1,
        });
        segments.chain([if self.wildcard { 3 } else { 2 }]).collect()
    }
}

impl Segment {
    fn parse(part: &str, route: &str) -> Result<Self, (String, String)> {
        let Some(name) = part.strip_prefix(':') else {
            return match part.find(':') {
                Some(_) => {
                    let message = format!("route `{route}` has a parameter inside the segment `{part}`");
                    Err((message, "make the parameter a segment of its own: `/:name/`".to_owned()))
                }
                None => Ok(Segment::Literal(part.to_owned())),
            };
        };
        // The name becomes part of a header's name, `spin-path-match-NAME`.
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            let message = format!("route `{route}` has a parameter `{part}` without a proper name");
            return Err((message, "name it by letters, digits, `_` and `-`: `/:user_id`".to_owned()));
        }
        Ok(Segment::Param(name.to_owned()))
    }
}

impl fmt::Display for RoutePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RoutePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoutePattern({})", self.text)
    }
}

/// Routes with their targets, in the order in which they are tried.
#[derive(Debug, Clone)]
pub struct Router<T> {
    routes: Vec<(RoutePattern, T)>,
}

impl<T> Router<T> {
    /// A router for routes of different shapes, which [`crate::read`] ensures. Their order does not matter.
    pub fn new(routes: impl IntoIterator<Item = (RoutePattern, T)>) -> Self {
        let mut routes: Vec<_> = routes.into_iter().collect();
        routes.sort_by_cached_key(|(pattern, _)| pattern.rank());
        Router { routes }
    }

    /// The route that answers `path`: the path of a request as received, without its query.
    pub fn route<'r, 'p>(&'r self, path: &'p str) -> Option<RouteMatch<'r, 'p, T>> {
        self.routes.iter().find_map(|(pattern, target)| {
            let trailing = pattern.fits(path)?;
            Some(RouteMatch { target, pattern, path, trailing })
        })
    }
}

/// A path and the route that answers it.
#[derive(Debug)]
pub struct RouteMatch<'r, 'p, T> {
    /// The target of the route.
    pub target: &'r T,
    /// The route.
    pub pattern: &'r RoutePattern,
    path: &'p str,
    trailing: &'p str,
}

impl<'r, 'p, T> RouteMatch<'r, 'p, T> {
    /// The text that the wildcard matches, with its leading slash: Spin's `spin-path-info`. Empty without a wildcard.
    pub fn trailing_wildcard(&self) -> &'p str {
        if self.pattern.wildcard { self.trailing } else { "" }
    }

    /// The parameters with their values, percent-encoded as in the path: Spin's `spin-path-match-NAME`.
    pub fn params(&self) -> impl Iterator<Item = (&'r str, &'p str)> {
        let parts = self.path.split('/').skip(1);
        self.pattern.segments.iter().zip(parts).filter_map(|(segment, part)| match segment {
            Segment::Param(name) => Some((name.as_str(), part)),
            Segment::Literal(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> RoutePattern {
        RoutePattern::parse(text).unwrap_or_else(|(message, _)| panic!("{message}"))
    }

    fn router(routes: &[&'static str]) -> Router<&'static str> {
        Router::new(routes.iter().map(|route| (pattern(route), *route)))
    }

    #[test]
    fn the_most_specific_route_answers() {
        let routes = [
            "/",
            "/...",
            "/one",
            "/one/...",
            "/one/two/...",
            "/one/:x",
            "/:y/two",
            "/users/:id",
            "/users/:id/posts/...",
            "/users/me",
            "/deep/:a/:b",
            "/old/*",
        ];
        for (path, route) in [
            ("/", "/"),
            ("/one", "/one"),
            ("/one/", "/one"),
            ("/one/two", "/one/two/..."),
            ("/one/two/three", "/one/two/..."),
            ("/one/three", "/one/:x"),
            ("/one/three/four", "/one/..."),
            ("/onetwo", "/..."),
            ("/three/two", "/:y/two"),
            ("/users/me", "/users/me"),
            ("/users/7", "/users/:id"),
            ("/users/7/", "/users/:id"),
            ("/users/7/posts", "/users/:id/posts/..."),
            ("/users/7/posts/1", "/users/:id/posts/..."),
            ("/users", "/..."),
            ("/users/", "/..."),
            ("/users//posts", "/..."),
            ("/deep/a/b", "/deep/:a/:b"),
            ("/old/x", "/old/*"),
            ("/nothing/here", "/..."),
            ("//", "/..."),
            ("/One", "/..."),
        ] {
            assert_eq!(router(&routes).route(path).map(|found| *found.target), Some(route), "{path}");
        }
        assert!(router(&["/one/..."]).route("/onetwo").is_none());
        assert!(router(&["/one"]).route("/one/two").is_none());
        assert!(router(&["/one"]).route("").is_none());
        assert!(router(&["/one"]).route("*").is_none());
    }

    #[test]
    fn a_match_gives_what_spins_headers_need() {
        for (route, path, trailing, prefix, params) in [
            ("/...", "/1/2/3", "/1/2/3", "", vec![]),
            ("/...", "/", "/", "", vec![]),
            ("/1/...", "/1/2/3", "/2/3", "/1", vec![]),
            ("/test/...", "/test", "", "/test", vec![]),
            ("/test/...", "/test/", "/", "/test", vec![]),
            ("/test/...", "/test/hello/", "/hello/", "/test", vec![]),
            ("/test/*", "/test/hello", "/hello", "/test", vec![]),
            ("/1/:two/3", "/1/2/3/", "", "/1/:two/3", vec![("two", "2")]),
            ("/:a/:b/...", "/x%20y/ä/z", "/z", "/:a/:b", vec![("a", "x%20y"), ("b", "ä")]),
            ("test", "/test", "", "/test", vec![]),
        ] {
            let router = router(&[route]);
            let found = router.route(path).expect(path);
            assert_eq!(found.trailing_wildcard(), trailing, "{route} {path}");
            assert_eq!(found.pattern.prefix(), prefix, "{route} {path}");
            assert_eq!(found.params().collect::<Vec<_>>(), params, "{route} {path}");
        }
        assert_eq!(pattern("/a/b/").as_str(), "/a/b");
        assert_eq!(pattern("/").as_str(), "/");
    }

    #[test]
    fn a_wrong_route_is_refused_with_a_reason() {
        for (route, reason) in [
            ("/a/.../b", "not at its end"),
            ("/*/b", "not at its end"),
            ("/a//b", "empty segment"),
            ("/:", "proper name"),
            ("/:a.b", "proper name"),
            ("/x:a", "inside the segment"),
            ("/:a/:a", "two parameters"),
            ("/a?b=c", "'?'"),
            ("/a b", "' '"),
        ] {
            let (message, _) = RoutePattern::parse(route).expect_err(route);
            assert!(message.contains(reason), "{route}: {message}");
        }
    }

    #[test]
    fn two_routes_of_the_same_shape_are_detected() {
        assert!(pattern("/a/:x").same_shape(&pattern("/a/:y/")));
        assert!(pattern("/a/...").same_shape(&pattern("/a/*")));
        assert!(!pattern("/a/:x").same_shape(&pattern("/a/x")));
        assert!(!pattern("/a").same_shape(&pattern("/a/...")));
    }

    fn segments(of: &'static str) -> impl Strategy<Value = String> {
        proptest::collection::vec(of, 0..4).prop_map(|parts| format!("/{}", parts.join("/")))
    }

    fn route() -> impl Strategy<Value = String> {
        (segments("(a|b|:p)"), any::<bool>()).prop_map(|(route, wildcard)| {
            // Names of parameters differ within a route.
            let named: Vec<_> = route
                .split('/')
                .skip(1)
                .filter(|part| !part.is_empty())
                .enumerate()
                .map(|(i, part)| if part == ":p" { format!("/:p{i}") } else { format!("/{part}") })
                .collect();
            match (named.concat(), wildcard) {
                (route, true) => format!("{route}/..."),
                (route, false) if route.is_empty() => "/".to_owned(),
                (route, false) => route,
            }
        })
    }

    /// How well a route matches, computed in a simple and slow way: one mark for each segment; `None` if it does not
    /// match.
    fn marks(route: &str, path: &str) -> Option<String> {
        let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
        let mut marks = String::new();
        for (i, segment) in route.split('/').filter(|part| !part.is_empty()).enumerate() {
            match (segment, parts.get(i)) {
                ("...", _) => return Some(marks + "0"),
                (literal, Some(part)) if literal == *part => marks.push('3'),
                (param, Some(_)) if param.starts_with(':') => marks.push('2'),
                _ => return None,
            }
        }
        (marks.len() == parts.len()).then_some(marks + "1")
    }

    proptest! {
        #[test]
        fn the_router_agrees_with_a_simple_implementation_of_the_rule(
            routes in proptest::collection::btree_set(route(), 1..8),
            path in segments("(a|b|c)"),
        ) {
            let mut chosen: Vec<RoutePattern> = Vec::new();
            for route in routes.iter().map(|route| pattern(route)) {
                if !chosen.iter().any(|other| other.same_shape(&route)) {
                    chosen.push(route);
                }
            }
            let best = chosen.iter()
                .filter_map(|route| Some((marks(route.as_str(), &path)?, route.as_str())))
                .max().map(|(_, route)| route.to_owned());
            let declared = chosen.clone().into_iter().map(|route| (route.clone(), route.as_str().to_owned()));
            let mut backwards: Vec<_> = declared.clone().collect();
            backwards.reverse();
            for order in [declared.collect::<Vec<_>>(), backwards] {
                let router = Router::new(order);
                prop_assert_eq!(router.route(&path).map(|found| found.target.clone()), best.clone());
            }
        }

        #[test]
        fn no_route_and_no_path_makes_it_panic(route in "\\PC{0,20}", path in "\\PC{0,20}") {
            if let Ok(pattern) = RoutePattern::parse(&route) {
                let router = Router::new([(pattern, ())]);
                if let Some(found) = router.route(&path) {
                    found.params().count();
                }
            }
        }
    }
}
