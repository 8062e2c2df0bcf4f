//! Which question a path asks. Paths are split at `/` first and decoded after, so that `team%2Fprod` is one revision.
//!
//! What a client wrote into a path never becomes the path of a file: it is looked up in lists.

use axum::http::Method;
use percent_encoding::percent_decode_str;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// A file of a version, or what is known of it.
    File { repo: String, revision: String, path: String },
    /// A repository at a revision.
    Info { repo: String, revision: String },
    /// What stands in a folder; the root is empty.
    Tree { repo: String, revision: String, folder: String },
    /// The same of paths in the body.
    Paths { repo: String, revision: String },
    /// Branches and tags.
    Refs { repo: String },
    /// Versions up to one.
    Commits { repo: String, revision: String },
    /// All models.
    Models,
    /// Which programs act for people; asked once a day.
    Harnesses,
    /// Whose token it is.
    WhoAmI,
    /// Anything that would change something.
    Write,
    /// Anything else.
    NotServed,
    /// Not UTF-8.
    Unreadable,
}

/// Words that stand behind a repository's name.
const ABOUT: [&str; 5] = ["revision", "tree", "paths-info", "refs", "commits"];

/// Reads a path.
pub fn parse(method: &Method, path: &str) -> Call {
    let parts = path.strip_prefix('/').unwrap_or(path).split('/');
    let decoded = parts.map(|part| percent_decode_str(part).decode_utf8().map(std::borrow::Cow::into_owned));
    let Ok(parts) = decoded.collect::<Result<Vec<String>, _>>() else { return Call::Unreadable };
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let reads = method == Method::GET || method == Method::HEAD;
    match &parts[..] {
        ["api", "models", rest @ ..] if rest.iter().any(|part| !part.is_empty()) => about_repo(method, rest),
        _ if !reads => Call::Write,
        ["api", "models", ..] => Call::Models,
        ["api", "agent-harnesses"] => Call::Harnesses,
        ["api", "whoami-v2"] => Call::WhoAmI,
        ["api", ..] => Call::NotServed,
        [name, "resolve", revision, path @ ..] => file((*name).to_owned(), revision, path),
        [namespace, name, "resolve", revision, path @ ..] => file(format!("{namespace}/{name}"), revision, path),
        _ => Call::NotServed,
    }
}

fn file(repo: String, revision: &str, path: &[&str]) -> Call {
    Call::File { repo, revision: revision.to_owned(), path: path.join("/") }
}

/// Behind `/api/models/`.
fn about_repo(method: &Method, parts: &[&str]) -> Call {
    let (repo, rest) = match parts {
        // A few repositories of the Hub have a name alone.
        [name, about, rest @ ..] if ABOUT.contains(about) && (*about == "refs" || !rest.is_empty()) => {
            ((*name).to_owned(), &parts[1..])
        }
        [name] => ((*name).to_owned(), &parts[1..]),
        [namespace, name, ..] => (format!("{namespace}/{name}"), &parts[2..]),
        [] => return Call::NotServed,
    };
    let main = modelkeep_ops::catalogue::MAIN;
    let reads = method == Method::GET || method == Method::HEAD;
    match rest {
        ["paths-info", revision] if method == Method::POST => Call::Paths { repo, revision: (*revision).to_owned() },
        _ if !reads => Call::Write,
        [] => Call::Info { repo, revision: main.to_owned() },
        ["revision", revision] => Call::Info { repo, revision: (*revision).to_owned() },
        ["tree", revision, folder @ ..] => {
            let folder = folder.join("/").trim_matches('/').to_owned();
            Call::Tree { repo, revision: (*revision).to_owned(), folder }
        }
        ["refs"] => Call::Refs { repo },
        ["commits", revision] => Call::Commits { repo, revision: (*revision).to_owned() },
        // Tokens for an upload: asked for by a client that is about to write.
        [write, ..] if write.ends_with("write-token") => Call::Write,
        _ => Call::NotServed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Call {
        parse(&Method::GET, path)
    }

    fn file(repo: &str, revision: &str, path: &str) -> Call {
        Call::File { repo: repo.to_owned(), revision: revision.to_owned(), path: path.to_owned() }
    }

    #[test]
    fn files_are_named_with_and_without_a_namespace() {
        assert_eq!(get("/a/b/resolve/main/x/y.json"), file("a/b", "main", "x/y.json"));
        assert_eq!(get("/gpt2/resolve/main/x"), file("gpt2", "main", "x"));
        assert_eq!(get("/a/b/resolve/team%2Fprod/x%20y"), file("a/b", "team/prod", "x y"));
        assert_eq!(get("/a/b/resolve/main/"), file("a/b", "main", ""));
    }

    #[test]
    fn what_tries_to_get_out_is_a_name_like_any_other() {
        assert_eq!(get("/a/b/resolve/main/%2e%2e/%2e%2e/etc/passwd"), file("a/b", "main", "../../etc/passwd"));
        assert_eq!(get("/a/b/resolve/main/..%2f..%2fx"), file("a/b", "main", "../../x"));
        assert_eq!(get("/a/b/resolve/main//etc/passwd"), file("a/b", "main", "/etc/passwd"));
        assert_eq!(get("/a/b/resolve/main/%ff"), Call::Unreadable);
        assert_eq!(get("/../../etc/passwd"), Call::NotServed);
    }

    #[test]
    fn questions_about_repositories() {
        let info = |repo: &str, revision: &str| Call::Info { repo: repo.to_owned(), revision: revision.to_owned() };
        let tree = |revision: &str, folder: &str| Call::Tree {
            repo: "a/b".to_owned(),
            revision: revision.to_owned(),
            folder: folder.to_owned(),
        };
        assert_eq!(get("/api/models"), Call::Models);
        assert_eq!(get("/api/models/"), Call::Models);
        assert_eq!(get("/api/models/a/b"), info("a/b", "main"));
        assert_eq!(get("/api/models/gpt2"), info("gpt2", "main"));
        assert_eq!(get("/api/models/gpt2/revision/r"), info("gpt2", "r"));
        assert_eq!(get("/api/models/a/b/revision/team%2Fprod"), info("a/b", "team/prod"));
        assert_eq!(get("/api/models/a/b/tree/main"), tree("main", ""));
        assert_eq!(get("/api/models/a/b/tree/main/"), tree("main", ""));
        assert_eq!(get("/api/models/a/b/tree/main/no%2Fsuch"), tree("main", "no/such"));
        assert_eq!(get("/api/models/a/tree"), info("a/tree", "main"));
        assert_eq!(get("/api/models/a/b/refs"), Call::Refs { repo: "a/b".to_owned() });
        assert_eq!(get("/api/models/gpt2/refs"), Call::Refs { repo: "gpt2".to_owned() });
        assert_eq!(get("/api/datasets/a/b"), Call::NotServed);
    }

    #[test]
    fn whatever_would_write_is_a_write() {
        for path in
            ["/api/repos/create", "/api/models/a/b/commit/main", "/a/b.git/info/lfs/objects/batch", "/a/b/resolve/m/x"]
        {
            assert_eq!(parse(&Method::POST, path), Call::Write, "{path}");
        }
        assert_eq!(parse(&Method::DELETE, "/api/repos/delete"), Call::Write);
        assert_eq!(get("/api/models/a/b/xet-write-token/main"), Call::Write);
        let paths = Call::Paths { repo: "a/b".to_owned(), revision: "main".to_owned() };
        assert_eq!(parse(&Method::POST, "/api/models/a/b/paths-info/main"), paths);
    }
}
