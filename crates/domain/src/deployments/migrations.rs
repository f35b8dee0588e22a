//! Classes of objects over the versions of their code, as `migrations` in its configuration says. The words and rules are
//! those of Wrangler's configuration, so that a project need not be changed.

use serde::{Deserialize, Serialize};

use super::{BadCode, Binding, MAX_IDENTIFIER_BYTES, identifier};
use crate::ids::NamespaceId;

/// Steps that one configuration may list.
pub const MAX_MIGRATIONS: usize = 200;
/// Classes that all of its steps name together.
pub const MAX_MIGRATED: usize = 1_000;
/// Classes of one deployment.
pub const MAX_CLASSES: usize = 64;

/// One step: what it does to classes. Steps are taken once, in order, and are known by their tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    pub tag: String,
    #[serde(default)]
    pub new: Vec<String>,
    #[serde(default)]
    pub renamed: Vec<Rename>,
    #[serde(default)]
    pub deleted: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    pub from: String,
    pub to: String,
}

/// A class that has objects, or may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    pub name: String,
    pub namespace: NamespaceId,
}

/// What the steps come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrated {
    pub classes: Vec<Class>,
    /// Whose objects are deleted for good.
    pub deleted: Vec<Class>,
    /// The last step's.
    pub tag: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMigration {
    #[error("{0} migrations; at most {MAX_MIGRATIONS}")]
    TooMany(usize),
    #[error("migrations name {0} classes; at most {MAX_MIGRATED}")]
    TooManyNames(usize),
    #[error("migration '{0}' makes more classes than the {MAX_CLASSES} that a deployment may have")]
    TooManyClasses(String),
    #[error(transparent)]
    Name(#[from] BadCode),
    #[error("a migration has no tag")]
    NoTag,
    #[error("two migrations have the tag '{0}'")]
    TwoTags(String),
    #[error(
        "the deployment has taken the migration '{0}', which the configuration does not list any more; migrations that were \
         taken stay in the list, and new ones go behind them"
    )]
    Forgotten(String),
    #[error("migration '{tag}' makes the class '{class}', which is there already")]
    AlreadyThere { tag: String, class: String },
    #[error("migration '{tag}' is about the class '{class}', which is not there")]
    NotThere { tag: String, class: String },
    #[error(
        "the binding '{binding}' is for the class '{class}', which has no migration; add one: \
         [[migrations]] tag = \"...\", new_sqlite_classes = [\"{class}\"]"
    )]
    NoClass { binding: String, class: String },
    #[error(
        "the binding '{binding}' is for the class '{class}', which the last migration deletes; take the binding away first"
    )]
    Deleted { binding: String, class: String },
}

/// Takes the steps behind the one that was taken last, and checks that each binding has a class in the end.
pub fn migrate(
    classes: &[Class],
    taken: Option<&str>,
    steps: &[Migration],
    bindings: &[Binding],
) -> Result<Migrated, BadMigration> {
    if steps.len() > MAX_MIGRATIONS {
        return Err(BadMigration::TooMany(steps.len()));
    }
    let names = steps.iter().map(|step| step.new.len() + 2 * step.renamed.len() + step.deleted.len()).sum();
    if names > MAX_MIGRATED {
        return Err(BadMigration::TooManyNames(names));
    }
    for (at, step) in steps.iter().enumerate() {
        let renamed = step.renamed.iter().flat_map(|Rename { from, to }| [from, to]);
        for name in step.new.iter().chain(renamed).chain(&step.deleted) {
            identifier("class", name)?;
        }
        if step.tag.is_empty() || step.tag.len() > MAX_IDENTIFIER_BYTES {
            return Err(BadMigration::NoTag);
        }
        if steps[..at].iter().any(|earlier| earlier.tag == step.tag) {
            return Err(BadMigration::TwoTags(step.tag.clone()));
        }
    }
    let next = match taken {
        None => 0,
        Some(tag) => {
            let at = steps.iter().position(|step| step.tag == tag);
            at.ok_or_else(|| BadMigration::Forgotten(tag.to_owned()))? + 1
        }
    };
    let mut migrated = Migrated { classes: classes.to_vec(), deleted: Vec::new(), tag: taken.map(str::to_owned) };
    for step in &steps[next..] {
        migrated.take(step)?;
    }
    for Binding { name, class } in bindings {
        if migrated.classes.iter().any(|known| known.name == *class) {
            continue;
        }
        let (binding, class) = (name.clone(), class.clone());
        let is_deleted = migrated.deleted.iter().any(|known| known.name == class);
        return Err(if is_deleted {
            BadMigration::Deleted { binding, class }
        } else {
            BadMigration::NoClass { binding, class }
        });
    }
    Ok(migrated)
}

impl Migrated {
    fn find(&self, step: &Migration, class: &str) -> Result<usize, BadMigration> {
        let found = self.classes.iter().position(|known| known.name == class);
        found.ok_or_else(|| BadMigration::NotThere { tag: step.tag.clone(), class: class.to_owned() })
    }

    fn free(&self, step: &Migration, class: &str) -> Result<(), BadMigration> {
        if self.classes.iter().any(|known| known.name == class) {
            return Err(BadMigration::AlreadyThere { tag: step.tag.clone(), class: class.to_owned() });
        }
        Ok(())
    }

    fn take(&mut self, step: &Migration) -> Result<(), BadMigration> {
        for class in &step.deleted {
            let at = self.find(step, class)?;
            self.deleted.push(self.classes.remove(at));
        }
        for Rename { from, to } in &step.renamed {
            let at = self.find(step, from)?;
            self.free(step, to)?;
            self.classes[at].name.clone_from(to);
        }
        for class in &step.new {
            self.free(step, class)?;
            if self.classes.len() == MAX_CLASSES {
                return Err(BadMigration::TooManyClasses(step.tag.clone()));
            }
            self.classes.push(Class { name: class.clone(), namespace: NamespaceId::new() });
        }
        self.tag = Some(step.tag.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(tag: &str) -> Migration {
        Migration { tag: tag.to_owned(), ..Migration::default() }
    }
    fn made(tag: &str, class: &str) -> Migration {
        Migration { new: vec![class.to_owned()], ..step(tag) }
    }
    fn renamed(tag: &str, from: &str, to: &str) -> Migration {
        Migration { renamed: vec![Rename { from: from.to_owned(), to: to.to_owned() }], ..step(tag) }
    }
    fn deleted(tag: &str, class: &str) -> Migration {
        Migration { deleted: vec![class.to_owned()], ..step(tag) }
    }
    fn binding(class: &str) -> Binding {
        Binding { name: class.to_uppercase(), class: class.to_owned() }
    }

    #[test]
    fn each_step_is_taken_once_and_objects_stay_with_their_class() {
        let first = migrate(&[], None, &[made("v1", "Room")], &[binding("Room")]).unwrap();
        assert_eq!((first.classes.len(), first.tag.as_deref()), (1, Some("v1")));
        let again = migrate(&first.classes, Some("v1"), &[made("v1", "Room")], &[binding("Room")]).unwrap();
        assert_eq!(again.classes, first.classes);
        let steps = [made("v1", "Room"), renamed("v2", "Room", "Hall"), made("v3", "Room")];
        let third = migrate(&again.classes, Some("v1"), &steps, &[binding("Hall"), binding("Room")]).unwrap();
        let namespace = |name: &str| third.classes.iter().find(|class| class.name == name).unwrap().namespace;
        assert_eq!(namespace("Hall"), first.classes[0].namespace);
        assert_ne!(namespace("Room"), namespace("Hall"));
        let steps = [steps.as_slice(), &[deleted("v4", "Room")]].concat();
        let last = migrate(&third.classes, Some("v3"), &steps, &[binding("Hall")]).unwrap();
        assert_eq!(last.deleted, [Class { name: "Room".to_owned(), namespace: namespace("Room") }]);
        assert_eq!(last.classes.len(), 1);
    }

    #[test]
    fn what_cannot_be_taken_says_why() {
        let classes = [Class { name: "Room".to_owned(), namespace: NamespaceId::new() }];
        let check = |taken, steps: &[Migration], bindings: &[Binding], expected: &str| {
            let said = migrate(&classes, taken, steps, bindings).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        };
        check(None, &[made("v1", "Room")], &[], "there already");
        check(None, &[renamed("v1", "Hall", "Room")], &[], "'Hall', which is not there");
        check(None, &[deleted("v1", "Hall")], &[], "not there");
        check(None, &[step("v1"), step("v1")], &[], "two migrations");
        check(None, &[step("")], &[], "no tag");
        check(Some("v1"), &[step("v2")], &[], "'v1', which the configuration does not list");
        check(None, &[], &[binding("Hall")], "new_sqlite_classes = [\"Hall\"]");
        check(None, &[deleted("v1", "Room")], &[binding("Room")], "take the binding away");
        check(None, &vec![step("v"); MAX_MIGRATIONS + 1], &[], "at most 200");
    }

    #[test]
    fn names_and_their_number_are_within_reason() {
        let check = |step: &Migration, expected: &str| {
            let said = migrate(&[], None, std::slice::from_ref(step), &[]).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        };
        let many =
            |count: usize| Migration { new: (0..count).map(|number| format!("C{number}")).collect(), ..step("v1") };
        assert_eq!(migrate(&[], None, &[many(MAX_CLASSES)], &[]).unwrap().classes.len(), MAX_CLASSES);
        check(&many(MAX_CLASSES + 1), "more classes than the 64");
        check(&many(MAX_MIGRATED + 1), "name 1001 classes");
        let long = "x".repeat(MAX_IDENTIFIER_BYTES + 1);
        for bad in ["", "A B", "1st", " 0194", &long] {
            check(&made("v1", bad), "is no name of a class");
            check(&renamed("v1", "Room", bad), "is no name of a class");
            check(&deleted("v1", bad), "is no name of a class");
        }
    }
}
