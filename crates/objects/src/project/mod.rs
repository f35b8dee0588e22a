//! What a user's folder says: the configuration and the modules that it names.
//!
//! Modules stay modules: each file becomes one, with its imports named as the engine finds them. Types are blanked out
//! of TypeScript in place, so that a line of an error is the line of the file.

mod config;
mod files;
mod imports;
mod strip;
#[cfg(feature = "engine")]
mod version;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use crate::wire::{Module, ModuleKind};

pub use config::{Berth, Binding, CodeLimits, Config, DurableObjects, Migration, RenamedClass, Rule, RuleKind};
use files::Files;
pub use files::Sent;
pub use strip::{Stripped, strip};
#[cfg(feature = "engine")]
pub use version::Secret;

/// All modules of a deployment together.
const MAX_BYTES: usize = 64 << 20;
const MAX_MODULES: usize = 2000;

/// Where in a user's file; from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    pub line: usize,
    pub column: usize,
}

impl Place {
    pub fn start(file: &Path) -> Self {
        Place { file: file.to_owned(), line: 1, column: 1 }
    }

    /// Of the byte at `at`.
    pub fn of(file: &Path, text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Place { file: file.to_owned(), line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    #[error("{} has no wrangler.toml, wrangler.json or wrangler.jsonc", .0.display())]
    NoConfig(PathBuf),
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{place}: {message}")]
    Invalid { place: Place, message: String },
    #[error("'{0}' is no name of a file below the folder")]
    Name(String),
    #[error("the modules are larger than {MAX_BYTES} bytes, or more than {MAX_MODULES}")]
    TooLarge,
}

impl ProjectError {
    pub fn invalid(place: Place, message: impl Into<String>) -> Self {
        ProjectError::Invalid { place, message: message.into() }
    }

    /// With paths as those call them who sent the files.
    fn within(self, root: &Path) -> Self {
        let shorter = |path: PathBuf| path.strip_prefix(root).map(Path::to_owned).unwrap_or(path);
        match self {
            ProjectError::NoConfig(_) => ProjectError::NoConfig(PathBuf::from("the folder")),
            ProjectError::Read { path, source } => ProjectError::Read { path: shorter(path), source },
            ProjectError::Invalid { place: Place { file, line, column }, message } => {
                ProjectError::Invalid { place: Place { file: shorter(file), line, column }, message }
            }
            ProjectError::Name(name) => ProjectError::Name(name),
            ProjectError::TooLarge => ProjectError::TooLarge,
        }
    }
}

/// A project as it is deployed.
#[derive(Debug)]
pub struct Project {
    pub config: Config,
    pub modules: Vec<Module>,
    /// Name of the entry module.
    pub main: String,
    /// What the files ask for and will not get.
    pub warnings: Vec<String>,
    /// Every file that was read.
    pub files: Vec<PathBuf>,
}

impl Project {
    /// Reads the folder's configuration, and every module that its entry imports.
    pub fn read(directory: &Path) -> Result<Self, ProjectError> {
        let directory =
            fs::canonicalize(directory).map_err(|source| ProjectError::Read { path: directory.to_owned(), source })?;
        Self::collect(Files::Disk, &directory)
    }

    /// As [`Project::read`], of what somebody sent.
    pub fn of_sent(sent: &Sent) -> Result<Self, ProjectError> {
        let root = sent.root();
        Self::collect(Files::Sent(sent), &root).map_err(|error| error.within(&root))
    }

    fn collect(there: Files<'_>, directory: &Path) -> Result<Self, ProjectError> {
        let (config, config_file) = Config::read(there, directory)?;
        let mut collected = Collected {
            there,
            root: directory.to_owned(),
            modules: BTreeMap::new(),
            waiting: Vec::new(),
            files: Vec::new(),
            bytes: 0,
        };
        let main = directory.join(&config.main);
        if !there.is_file(&main) {
            let message = format!("main is {}, which is no file", config.main.display());
            return Err(ProjectError::invalid(Place::start(&config_file), message));
        }
        let main = collected.add(&main, &config)?;
        while let Some(next) = collected.waiting.pop() {
            collected.read(&next, &config)?;
        }
        let warnings = config.warnings();
        let mut files = collected.files;
        files.push(config_file);
        Ok(Project { config, modules: collected.modules.into_values().collect(), main, warnings, files })
    }
}

struct Collected<'a> {
    there: Files<'a>,
    root: PathBuf,
    modules: BTreeMap<String, Module>,
    waiting: Vec<PathBuf>,
    files: Vec<PathBuf>,
    bytes: usize,
}

impl Collected<'_> {
    /// The name under which the engine finds the file; it is read later if it is new.
    fn add(&mut self, file: &Path, config: &Config) -> Result<String, ProjectError> {
        let name = self.name(file);
        if !self.modules.contains_key(&name) {
            if self.modules.len() >= MAX_MODULES {
                return Err(ProjectError::TooLarge);
            }
            let kind = imports::kind_of(file, &config.rules);
            self.modules.insert(name.clone(), Module { name: name.clone(), kind, body: Vec::new() });
            self.waiting.push(file.to_owned());
        }
        Ok(name)
    }

    fn name(&self, file: &Path) -> String {
        match file.strip_prefix(&self.root) {
            Ok(within) => within.to_string_lossy().into_owned(),
            // A package that lies above the folder, as in a repository of many.
            Err(_) => file.to_string_lossy().trim_start_matches('/').to_owned(),
        }
    }

    fn read(&mut self, file: &Path, config: &Config) -> Result<(), ProjectError> {
        let body = self.there.read(file).map_err(|source| ProjectError::Read { path: file.to_owned(), source })?;
        self.files.push(file.to_owned());
        self.bytes += body.len();
        if self.bytes > MAX_BYTES {
            return Err(ProjectError::TooLarge);
        }
        let name = self.name(file);
        let kind = imports::kind_of(file, &config.rules);
        let body = match kind {
            ModuleKind::Esm => self.read_esm(file, body, config)?,
            ModuleKind::Text | ModuleKind::Json | ModuleKind::Data => body,
        };
        self.modules.insert(name.clone(), Module { name, kind, body });
        Ok(())
    }

    fn read_esm(&mut self, file: &Path, body: Vec<u8>, config: &Config) -> Result<Vec<u8>, ProjectError> {
        let text = String::from_utf8(body)
            .map_err(|error| ProjectError::invalid(Place::start(file), format!("it is no UTF-8: {error}")))?;
        let stripped = strip(file, &text)?;
        let mut named = Vec::with_capacity(stripped.imports.len());
        for import in &stripped.imports {
            let place = || Place::of(file, &text, import.start);
            if imports::is_built_in(&import.specifier) {
                continue;
            }
            let found = imports::resolve(self.there, file, &import.specifier)
                .ok_or_else(|| ProjectError::invalid(place(), imports::not_found(&import.specifier)))?;
            named.push((import.clone(), self.add(&found, config)?));
        }
        Ok(stripped.with_imports(&text, &named).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Project, ProjectError>) {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("is made");
            fs::write(path, text).expect("is written");
        }
        let project = Project::read(directory.path());
        (directory, project)
    }

    const CONFIG: (&str, &str) = ("wrangler.toml", "name = \"a\"\nmain = \"src/index.ts\"\n");

    #[test]
    fn imports_are_followed_and_named_as_the_engine_finds_them() {
        let (_kept, project) = project(&[
            CONFIG,
            (
                "src/index.ts",
                "import { DurableObject } from 'cloudflare:workers';\nimport { a } from './lib';\nimport text from './x.txt';\n\
                 import data from '../data.json';\nimport { nice } from 'nice';\nexport { b } from './deep/b.js';\n\
                 export default { a, text, data, nice, DurableObject };\n",
            ),
            ("src/lib/index.ts", "export const a: number = 1;\n"),
            ("src/deep/b.ts", "export const b = await import('../lib');\n"),
            ("src/x.txt", "text"),
            ("data.json", "{}"),
            (
                "node_modules/nice/package.json",
                r#"{ "exports": { ".": { "types": "./t.d.ts", "import": "./main.mjs" } } }"#,
            ),
            ("node_modules/nice/main.mjs", "export const nice = 1;\n"),
        ]);
        let project = project.expect("is read");
        let names: Vec<&str> = project.modules.iter().map(|module| module.name.as_str()).collect();
        let expected = [
            "data.json",
            "node_modules/nice/main.mjs",
            "src/deep/b.ts",
            "src/index.ts",
            "src/lib/index.ts",
            "src/x.txt",
        ];
        assert_eq!(names, expected);
        assert_eq!(project.main, "src/index.ts");
        let index = String::from_utf8_lossy(&project.modules[3].body).into_owned();
        for wanted in [
            "from 'cloudflare:workers'",
            "from \"src/lib/index.ts\"",
            "from \"src/x.txt\"",
            "from \"data.json\"",
            "from \"node_modules/nice/main.mjs\"",
            "from \"src/deep/b.ts\"",
        ] {
            assert!(index.contains(wanted), "{wanted} is not in {index}");
        }
        assert!(String::from_utf8_lossy(&project.modules[2].body).contains("import(\"src/lib/index.ts\")"));
        let kinds: Vec<ModuleKind> = project.modules.iter().map(|module| module.kind.clone()).collect();
        assert_eq!((&kinds[0], &kinds[5]), (&ModuleKind::Json, &ModuleKind::Text));
    }

    #[test]
    fn what_is_missing_or_wrong_has_its_place() {
        let check = |files: &[(&str, &str)], expected: &str| {
            let (_kept, project) = project(files);
            let error = project.expect_err("is refused").to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&[CONFIG], "wrangler.toml:1:1: main is src/index.ts, which is no file");
        check(
            &[CONFIG, ("src/index.ts", "const a = 1;\nimport b from './b';\nb();\n")],
            "src/index.ts:2:15: ./b is not there",
        );
        check(&[CONFIG, ("src/index.ts", "import b from 'left-pad';\nb();\n")], "npm install left-pad");
        check(&[CONFIG, ("src/index.ts", "let a: number = ;\n")], "src/index.ts:1:17: ");
    }

    fn sent(files: &[(&str, &str)]) -> Result<Project, ProjectError> {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), text.as_bytes().to_vec());
        Project::of_sent(&Sent::new(files.iter().map(owned))?)
    }

    #[test]
    fn what_was_sent_is_read_as_from_a_folder() {
        let project = sent(&[
            ("chat/wrangler.toml", CONFIG.1),
            (
                "chat/src/index.ts",
                "import { a } from './lib';\nimport { nice } from 'nice';\nexport default { a, nice };\n",
            ),
            ("chat/src/lib/index.ts", "export const a: number = 1;\n"),
            ("chat/node_modules/nice/package.json", r#"{ "main": "./main.js" }"#),
            ("chat/node_modules/nice/main.js", "export const nice = 1;\n"),
            ("chat/node_modules/nice/wrangler.toml", "name = \"other\"\nmain = \"main.js\"\n"),
        ]);
        let project = project.expect("is read");
        let names: Vec<&str> = project.modules.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["node_modules/nice/main.js", "src/index.ts", "src/lib/index.ts"]);
        assert_eq!((project.main.as_str(), project.config.name.as_str()), ("src/index.ts", "a"));
    }

    #[test]
    fn what_was_sent_reaches_nothing_else() {
        let check = |index: &str, expected: &str| {
            let error = sent(&[("wrangler.toml", CONFIG.1), ("src/index.ts", index)]).expect_err("is refused");
            assert_eq!(error.to_string(), expected);
        };
        // Cargo.toml is there, whatever folder the test runs in.
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let climbing = format!("import a from '../../../../../../../../{here}';\na();\n");
        let said = format!("src/index.ts:1:15: ../../../../../../../../{here} is not there");
        check(&climbing, &said);
        check(&format!("import a from '{here}';\na();\n"), &format!("src/index.ts:1:15: {here} is not there"));
        check("let a: number = ;\n", "src/index.ts:1:17: Unexpected token");
        let main = format!("name = \"a\"\nmain = {here:?}\n");
        let error = sent(&[("a/wrangler.toml", &main)]).expect_err("is refused").to_string();
        assert_eq!(error, format!("wrangler.toml:1:1: main is {here}, which is no file"));
        assert_eq!(
            sent(&[]).expect_err("is refused").to_string(),
            "the folder has no wrangler.toml, wrangler.json or wrangler.jsonc"
        );
    }
}
