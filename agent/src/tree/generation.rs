//! Which database of a group is in use.
//!
//! A rebuilt tree gets a database of its own, the next *generation*. It becomes the one in use through one object,
//! which is created once the database is whole. So an agent sees the old tree or the new one, and what is damaged stays
//! where it is until somebody deletes it.

use object_store::path::Path as ObjectPath;
use object_store::{Error, ObjectStore, PutMode, PutOptions, PutPayload};
use strongroom_proto::ids::GroupId;
use strongroom_replica::stored::{TreeDamage, TreeFailure};

const MARKER: &str = "current-";

/// Where the trees of a group are.
#[derive(Clone, Debug)]
pub struct TreePlace {
    folder: ObjectPath,
    /// The generation meant, if it is not the one in use.
    meant: Option<u64>,
}

impl TreePlace {
    /// The trees of a group in the realm whose objects begin with `base`.
    #[must_use]
    pub fn new(base: &ObjectPath, group: GroupId) -> Self {
        Self { folder: base.clone().join("groups").join(group.to_string()).join("tree"), meant: None }
    }

    /// The same, but always this generation, whichever is in use.
    #[must_use]
    pub fn at(&self, generation: u64) -> Self {
        Self { folder: self.folder.clone(), meant: Some(generation) }
    }

    /// The generation that [`Self::at`] was asked for.
    #[must_use]
    pub const fn meant(&self) -> Option<u64> {
        self.meant
    }

    /// A generation that has no database yet and is newer than all that have. One listing.
    ///
    /// # Errors
    /// The store's error.
    pub async fn unused(&self, objects: &dyn ObjectStore) -> Result<u64, Error> {
        let newest = self.generations(objects).await?.into_iter().max();
        Ok(newest
            .map_or(0, |newest| newest.saturating_add(1))
            .max(self.in_use(objects).await?.saturating_add(1)))
    }

    /// The generations of which there is any object of a database. One listing.
    ///
    /// # Errors
    /// The store's error.
    pub(super) async fn generations(&self, objects: &dyn ObjectStore) -> Result<Vec<u64>, Error> {
        let found = objects.list_with_delimiter(Some(&self.folder)).await?;
        let generation = |at: &ObjectPath| {
            let generation = u64::from_str_radix(at.filename()?, 16).ok()?;
            (*at == self.database(generation)).then_some(generation)
        };
        Ok(found.common_prefixes.iter().filter_map(generation).collect())
    }

    /// Where the database of a generation is.
    #[must_use]
    pub fn database(&self, generation: u64) -> ObjectPath {
        self.folder.clone().join(format!("{generation:016x}"))
    }

    fn marker(&self, generation: u64) -> ObjectPath {
        self.folder.clone().join(format!("{MARKER}{generation:016x}"))
    }

    /// The generation meant, or the one in use: the highest with a marker, 0 without any. One listing.
    ///
    /// # Errors
    /// The store's error.
    pub async fn in_use(&self, objects: &dyn ObjectStore) -> Result<u64, Error> {
        if let Some(meant) = self.meant {
            return Ok(meant);
        }
        let found = objects.list_with_delimiter(Some(&self.folder)).await?;
        let generation = |at: &ObjectPath| {
            let hex = at.filename()?.strip_prefix(MARKER)?;
            u64::from_str_radix(hex, 16).ok().filter(|generation| *at == self.marker(*generation))
        };
        Ok(found.objects.iter().filter_map(|object| generation(&object.location)).max().unwrap_or(0))
    }

    /// Puts a generation with a whole database in use. Doing it again does nothing.
    ///
    /// # Errors
    /// The store's error.
    pub async fn use_from_now(&self, objects: &dyn ObjectStore, generation: u64) -> Result<(), Error> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match objects.put_opts(&self.marker(generation), PutPayload::new(), options).await {
            Ok(_) | Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether a generation has a database. One listing.
    ///
    /// A database that has lost all its manifests would look new and be started over; that is damage.
    pub(super) async fn has_database(
        &self,
        objects: &dyn ObjectStore,
        generation: u64,
    ) -> Result<bool, TreeFailure> {
        let place = self.database(generation);
        let found = objects.list_with_delimiter(Some(&place)).await.map_err(|_| TreeFailure::Unavailable)?;
        let manifests = place.clone().join("manifest");
        if found.common_prefixes.contains(&manifests) {
            return Ok(true);
        }
        if found.common_prefixes.contains(&place.join("compacted")) {
            return Err(TreeDamage::Object(format!("{manifests}/ is missing")).into());
        }
        Ok(false)
    }
}
