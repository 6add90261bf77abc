//! Paths of a scope: which files a fault means.
//!
//! Reads as Chaos Mesh's `path` of an IOChaos does: `*` and `?` stay within one name, `**` as a whole part stands for
//! any number of folders, none included. Paths are relative to the volume; a leading `/` or `./` is ignored.

/// A path with wildcards, taken apart.
pub(super) struct Pattern(Vec<Vec<u8>>);

impl Pattern {
    pub(super) fn new(text: &str) -> Pattern {
        Pattern(parts(text.as_bytes()).filter(|p| *p != b".").map(<[u8]>::to_vec).collect())
    }

    /// Whether a path relative to the volume (the volume itself is empty) is meant.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        let path: Vec<&[u8]> = parts(path).collect();
        folders_match(&self.0, &path)
    }
}

fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|p| !p.is_empty())
}

fn folders_match(pattern: &[Vec<u8>], path: &[&[u8]]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((p, more)), rest) if p == b"**" => {
            folders_match(more, path) || rest.is_some_and(|(_, tail)| folders_match(pattern, tail))
        }
        (Some(_), None) => false,
        (Some((p, more)), Some((name, tail))) => name_matches(p, name) && folders_match(more, tail),
    }
}

/// Goes back to the last `*` when it does not fit: linear for one star, at most quadratic for many.
fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') => (p, n) = (p + 1, n + char_len(&name[n..])),
            Some(c) if *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// Bytes of the first character, so that `?` is one letter of any script; one for bytes that are no UTF-8.
fn char_len(bytes: &[u8]) -> usize {
    let valid = |n: &usize| bytes.get(..*n).is_some_and(|b| std::str::from_utf8(b).is_ok());
    (1..=4).find(valid).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_read_as_in_chaos_mesh() {
        for (pattern, path, expected) in [
            ("*.bin", "a.bin", true),
            ("*.bin", "sub/a.bin", false),
            ("**/*.bin", "sub/deep/a.bin", true),
            ("**/*.bin", "a.bin", true),
            ("sub/**", "sub/x/y", true),
            ("sub/**", "other/x", false),
            ("**", "", true),
            ("/model.json", "model.json", true),
            ("./model.json", "model.json", true),
            ("model.json", "old/model.json", false),
            ("m?del.*", "mödel.json", true),
            ("m?del.*", "mdel.json", false),
            ("a*b*c", "a--b-b-c", true),
            ("a*b*c", "a--c--b", false),
            ("*", "", false),
            ("*", "sub", true),
            ("", "", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(path.as_bytes()), expected, "{pattern} on {path}");
        }
    }
}
