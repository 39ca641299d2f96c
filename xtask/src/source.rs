//! As much of Rust's grammar as the house rules need: what is code, what is imported, what is a word.

/// The source with comments and literals blanked out; lines keep their numbers.
pub fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let opaque =
            comment(rest).or_else(|| if code.ends_with(is_word) { plain_literal(rest) } else { literal(rest) });
        let length = match opaque {
            Some(length) => {
                // Blank, so that two words never become one.
                code.push(' ');
                code.extend(rest[..length].chars().filter(|c| *c == '\n'));
                length
            }
            None => {
                code.push(first);
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    code
}

/// Every path that the `use` items of some [`code_only`] text bring in, with the line of its `use`.
pub fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("use ").filter(|(start, _)| !code[..*start].ends_with(is_word)) {
        let tree = &code[start + "use ".len()..];
        let Some(end) = tree.find(';') else { continue };
        let line = code[..start].matches('\n').count() + 1;
        let mut paths = Vec::new();
        expand("", &tree[..end], &mut paths);
        found.extend(paths.into_iter().map(|path| (line, path)));
    }
    found
}

/// Whether `text` holds `word` with no more letters around it: `std::fs` is in `use std::fs;`, not in `std::fsync`.
pub fn names(text: &str, word: &str) -> bool {
    let before = |c: char| is_word(c) || (word.starts_with('/') && matches!(c, '.' | '-' | '/'));
    text.match_indices(word).any(|(start, _)| {
        let open_before = start > 0 && text[..start].ends_with(before);
        let open_after = word.ends_with(is_word) && text[start + word.len()..].starts_with(is_word);
        !open_before && !open_after
    })
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Flattens `a::{b, c::{d, e}}` to `a::b`, `a::c::d`, `a::c::e`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        if !tree.is_empty() {
            paths.push(format!("{prefix}{tree}"));
        }
        return;
    };
    let prefix = format!("{prefix}{}", head.trim());
    let group = group.strip_suffix('}').unwrap_or(group);
    let mut depth = 0_usize;
    let mut start = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                expand(&prefix, &group[start..at], paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    expand(&prefix, &group[start..], paths);
}

/// The length of the comment at the start of `text`. Block comments nest.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        at += if rest.starts_with("/*") {
            depth += 1;
            2
        } else if rest.starts_with("*/") {
            depth = depth.saturating_sub(1);
            2
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        if depth == 0 {
            return (text.starts_with("/*")).then_some(at);
        }
    }
    (depth > 0).then_some(text.len())
}

/// The length of the string or character literal at the start of `text`, prefix (`r#`, `b`, `c`) included.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c"].iter().find(|prefix| text.starts_with(**prefix)).map_or(0, |p| p.len());
    let body = &text[prefix..];
    if text[..prefix].ends_with('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let inner = body[hashes..].strip_prefix('"')?;
        let close = format!("\"{}", "#".repeat(hashes));
        let end = inner.find(&close).map_or(inner.len(), |end| end + close.len());
        return Some(prefix + hashes + 1 + end);
    }
    plain_literal(body).map(|length| prefix + length)
}

/// The length of the literal without prefix at the start of `text`; a lifetime is none.
fn plain_literal(text: &str) -> Option<usize> {
    let mut characters = text.char_indices();
    let (_, quote) = characters.next().filter(|(_, c)| matches!(c, '"' | '\''))?;
    if quote == '\'' {
        let (_, first) = characters.clone().next()?;
        let (_, second) = characters.clone().nth(1)?;
        if first != '\\' && second != '\'' {
            return None;
        }
    }
    while let Some((at, c)) = characters.next() {
        if c == '\\' {
            characters.next();
        } else if c == quote {
            return Some(at + 1);
        }
    }
    Some(text.len())
}

#[cfg(test)]
mod tests {
    use super::{code_only, imports, names};

    #[test]
    fn only_code_is_left_and_lines_stay() {
        for (source, expected) in [
            ("a // unsafe\nb", "a  \nb"),
            ("a /* x /* y */\n z */ b", "a  \n b"),
            (r#"f("un\"safe", 1)"#, "f( , 1)"),
            ("f(r#\"a \" b\"#, br\"x\", b'y', c\"z\")", "f( ,  ,  ,  )"),
            (r"g::<'a>('\'', 'x', '\u{1F600}')", "g::<'a>( ,  ,  )"),
            ("for b in rows {}", "for b in rows {}"),
            ("a / b * c", "a / b * c"),
            ("\"open", " "),
        ] {
            assert_eq!(code_only(source), expected, "{source}");
        }
    }

    #[test]
    fn grouped_imports_are_spelled_out() {
        let code = "x;\npub use a::{b, c::{d, e as f},\n g};\nuse h::*;\nreuse i;";
        let expected = [(2, "a::b"), (2, "a::c::d"), (2, "a::c::e as f"), (2, "a::g"), (4, "h::*")];
        let found = imports(code);
        assert_eq!(found.iter().map(|(line, path)| (*line, path.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn words_end_where_letters_end() {
        assert!(names("use std::fs;", "std::fs"));
        assert!(names("::std::fs::read", "std::fs"));
        assert!(!names("std::fsync", "std::fs"));
        assert!(!names("not_aya::x", "aya"));
        assert!(names("x(todo!())", "todo!"));
        assert!(!names("\u{e9}tude", "tude"));
    }
}
