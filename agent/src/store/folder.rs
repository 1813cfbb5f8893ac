//! A store in a folder on this machine. What is put there is durable before the put is reported.
//!
//! Owns the order of writing, and what happens when the disk refuses to keep something. An object is written and synced
//! under a temporary name, then linked to its own name, which the file system grants only once; then the folders that
//! lead there are synced. A folder that could not be synced is never trusted again by this process: the system may have
//! dropped what it could not write, and then a second sync succeeds and means nothing.
//!
//! The folder is the one that was opened, by its handle, device and inode, and not whatever is at its path: a disk that
//! is unmounted leaves a bare mount point there, which looks like an empty store. Before each call and after it, before
//! the result is reported, the path must lead to the folder that was opened. It is never created again.

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
    UpdateVersion, UploadPart,
};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const STORE: &str = "folder";

type SyncFolder = dyn Fn(&Path) -> io::Result<()> + Send + Sync;

/// The objects of a `file://` store. Cheap to clone; clones share what they know about the disk.
#[derive(Clone)]
pub(super) struct Folder(Arc<Inner>);

struct Inner {
    objects: LocalFileSystem,
    root: PathBuf,
    pinned: Pinned,
    sync: Box<SyncFolder>,
    /// Held for reading while a sync is under way and until its failure is known.
    syncing: RwLock<()>,
    /// Folders whose path from the root is durable.
    synced: Mutex<BTreeSet<PathBuf>>,
    /// What was put may be lost even though it can be read.
    distrusted: AtomicBool,
}

impl Folder {
    /// The store at `path`, which is created if it does not exist.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let folder = Self::with_sync(path, Box::new(sync_folder))?;
        // Durable: the root itself, in folders that may be new or not ours to open.
        for above in folder.0.root.ancestors() {
            match sync_folder(above) {
                Err(error) if above == folder.0.root || error.kind() != ErrorKind::PermissionDenied => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(folder)
    }

    fn with_sync(path: &Path, sync: Box<SyncFolder>) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let root = path.canonicalize()?;
        let pinned = Pinned::new(path)?;
        let objects = LocalFileSystem::new_with_prefix(&root)?.with_fsync(true);
        let (syncing, synced, distrusted) = (RwLock::default(), Mutex::default(), AtomicBool::new(false));
        Ok(Self(Arc::new(Inner { objects, root, pinned, sync, syncing, synced, distrusted })))
    }

    /// Makes it durable that the objects in `folder` exist, whoever put them; fails if it cannot.
    pub(super) async fn settle(&self, folder: &ObjectPath) -> Result<()> {
        let path = folder.parts().fold(self.0.root.clone(), |path, part| path.join(part.as_ref()));
        self.blocking(move |inner| if path.is_dir() { inner.sync_down_to(&path) } else { Ok(()) }).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.0.trusted()?;
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&inner)).await?
    }

    /// Replaces the object that has the version's tag. Of all that replace one version, in any processes of this
    /// machine, exactly one does.
    async fn update(
        &self,
        location: &ObjectPath,
        path: PathBuf,
        payload: PutPayload,
        version: UpdateVersion,
    ) -> Result<()> {
        let lock = {
            let path = path.clone();
            self.blocking(move |_| lock(&path).map_err(failed)).await?
        };
        let there = match self.0.objects.head(location).await {
            Ok(meta) => meta.e_tag,
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        if there.is_none() || there != version.e_tag {
            let source = "another version exists".into();
            return Err(Error::Precondition { path: location.to_string(), source });
        }
        self.blocking(move |inner| {
            // Held until it is done, even if the caller no longer waits.
            let _lock = lock;
            inner.put(&path, &payload, &PutMode::Overwrite)
        })
        .await
    }

    /// Makes what the library below has put at `path` durable.
    async fn publish<T: Send + 'static>(&self, path: &ObjectPath, result: Result<T>) -> Result<T> {
        let path = self.0.objects.path_to_filesystem(path)?;
        self.blocking(move |inner| inner.publish(&path, result)).await
    }
}

impl Inner {
    fn trusted(&self) -> Result<()> {
        if self.distrusted.load(Ordering::SeqCst) {
            return Err(failed(
                "a folder could not be synced earlier; check the disk, then restart the agent",
            ));
        }
        self.pinned.check().map_err(failed)
    }

    /// Passes on what a read found, if the folder is still the one that was opened: a bare mount point has no objects
    /// either.
    fn found<T>(&self, result: Result<T>) -> Result<T> {
        self.trusted()?;
        result
    }

    /// Passes on a listing, which is complete only if the folder was there until the end.
    fn listed(
        self: &Arc<Self>,
        list: impl FnOnce(&LocalFileSystem) -> BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        if let Err(error) = self.trusted() {
            return futures::future::ready(Err(error)).into_stream().boxed();
        }
        let inner = Arc::clone(self);
        let end = futures::stream::once(async move { inner.trusted() });
        let end = end.filter_map(async |end| end.err().map(Err));
        list(&self.objects).chain(end).boxed()
    }

    fn distrust(&self, folder: &Path, error: &dyn fmt::Display) {
        self.distrusted.store(true, Ordering::SeqCst);
        tracing::error!(
            folder = %folder.display(), %error,
            "the disk did not keep what was written to the store; the agent refuses to use it. \
             Check the disk, then restart the agent"
        );
    }

    fn put(&self, path: &Path, payload: &PutPayload, mode: &PutMode) -> Result<()> {
        self.make_folder(path.parent().unwrap_or(&self.root)).map_err(failed)?;
        let mut staged = Staged::write(path, payload).map_err(failed)?;
        match mode {
            PutMode::Create => std::fs::hard_link(&staged.0, path),
            _ => staged.rename(path),
        }
        .map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => {
                Error::AlreadyExists { path: path.display().to_string(), source: source.into() }
            }
            _ => failed(source),
        })?;
        path.parent().map_or(Ok(()), |folder| self.sync_down_to(folder))
    }

    /// Creates a folder and those above it, up to the root, which is never created again.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if folder == self.root || folder.is_dir() {
            return Ok(());
        }
        if let Some(above) = folder.parent().filter(|above| above.starts_with(&self.root)) {
            self.make_folder(above)?;
        }
        match std::fs::create_dir(folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// After a call to the library below, which syncs but does not distinguish a failed sync from a failed write.
    fn publish<T>(&self, path: &Path, result: Result<T>) -> Result<T> {
        let folder = path.parent().unwrap_or(&self.root);
        match &result {
            Ok(_) => self.sync_down_to(folder)?,
            Err(Error::NotFound { .. } | Error::AlreadyExists { .. } | Error::NotImplemented { .. }) => {}
            Err(error) => self.distrust(folder, error),
        }
        result
    }

    /// Makes what is in `folder` durable, and the folder in those above it.
    fn sync_down_to(&self, folder: &Path) -> Result<()> {
        let synced = || self.synced.lock();
        // Folders are never removed, so the path down needs it only once.
        let above = if synced().contains(folder) { 1 } else { usize::MAX };
        for path in folder.ancestors().take_while(|path| path.starts_with(&self.root)).take(above) {
            let _syncing = self.syncing.read();
            if let Err(error) = (self.sync)(path) {
                self.distrust(path, &error);
                return Err(failed(error));
            }
        }
        // The system reports a failure once. If it reported it to another sync of the same folder, that is known after
        // this.
        drop(self.syncing.write());
        self.trusted()?;
        synced().insert(folder.to_path_buf());
        Ok(())
    }
}

/// The folder that was opened.
struct Pinned {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Open for as long as it is used: it cannot be unmounted by mistake, and no other folder gets its inode.
    _handle: File,
}

impl Pinned {
    fn new(path: &Path) -> io::Result<Self> {
        // The path as it was given, including links: a redirected link leads elsewhere.
        let (path, handle) = (std::path::absolute(path)?, File::open(path)?);
        let metadata = handle.metadata()?;
        Ok(Self { path, device: metadata.dev(), inode: metadata.ino(), _handle: handle })
    }

    fn check(&self) -> io::Result<()> {
        let there = std::fs::metadata(&self.path);
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (self.device, self.inode)) {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{} is no longer the folder that the agent started with: it was unmounted, moved or replaced; bring it back, \
             or restart the agent where the store is",
            self.path.display()
        )))
    }
}

/// An object that has its bytes but not its name yet. Readers and listings do not see it. Removed when dropped.
struct Staged(PathBuf);

impl Staged {
    fn write(path: &Path, payload: &PutPayload) -> io::Result<Self> {
        let (mut file, staged) = Self::new(path)?;
        payload.iter().try_for_each(|bytes| file.write_all(bytes))?;
        // Durable: the bytes before the name. After a failure they are written again, to a different file.
        file.sync_all()?;
        Ok(staged)
    }

    fn new(path: &Path) -> io::Result<(File, Self)> {
        for number in 1.. {
            let staged = hidden(path, number);
            match OpenOptions::new().write(true).create_new(true).open(&staged) {
                Ok(file) => return Ok((file, Self(staged))),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    fn rename(&mut self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.0, path)?;
        // Another writer may take the name at once, and then it is not ours to remove.
        self.0.clear();
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // If it is left behind, it only takes space.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A name next to an object's, of the kind that the library below uses for its own files and leaves out of listings.
fn hidden(path: &Path, number: u64) -> PathBuf {
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!("#{number}"));
    hidden.into()
}

/// Waits until no other process replaces the object. The file stays: if it were removed, two could hold it.
fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(hidden(path, 0))?;
    file.lock()?;
    Ok(file)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic { store: STORE, source: source.into() }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Folder({})", self.0.root.display())
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[async_trait]
impl ObjectStore for Folder {
    async fn put_opts(
        &self,
        location: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if !options.attributes.is_empty() {
            let operation = "`put_opts` with attributes".into();
            return Err(Error::NotImplemented { operation, implementer: self.to_string() });
        }
        let path = self.0.objects.path_to_filesystem(location)?;
        match options.mode {
            PutMode::Update(version) => self.update(location, path, payload, version).await?,
            mode => self.blocking(move |inner| inner.put(&path, &payload, &mode)).await?,
        }
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(
        &self,
        location: &ObjectPath,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.trusted()?;
        let inner = self.0.objects.put_multipart_opts(location, options).await?;
        Ok(Box::new(FolderUpload { inner, folder: self.clone(), location: location.clone() }))
    }

    async fn get_opts(&self, location: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        self.0.trusted()?;
        self.0.found(self.0.objects.get_opts(location, options).await)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        match self.0.trusted() {
            // Not made durable: what comes back after a crash was unneeded, and is deleted again.
            Ok(()) => self.0.objects.delete_stream(locations),
            Err(error) => futures::future::ready(Err(error)).into_stream().boxed(),
        }
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.listed(|objects| objects.list(prefix))
    }

    /// The library below asks the system three times about each file that it lists, for a length and a time that no
    /// listing of the log wants, and has no listing without. Of names up to `offset` it asks nothing. That is all but
    /// the last few of a log, and so the default, which lists everything and drops what it need not have asked about,
    /// would not do.
    fn list_with_offset(
        &self,
        prefix: Option<&ObjectPath>,
        offset: &ObjectPath,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.listed(|objects| objects.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
        self.0.trusted()?;
        self.0.found(self.0.objects.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<()> {
        self.0.trusted()?;
        let result = self.0.objects.copy_opts(from, to, options).await;
        self.publish(to, result).await
    }

    async fn rename_opts(&self, from: &ObjectPath, to: &ObjectPath, options: RenameOptions) -> Result<()> {
        self.0.trusted()?;
        let result = self.0.objects.rename_opts(from, to, options).await;
        self.publish(to, result).await
    }
}

#[derive(Debug)]
struct FolderUpload {
    inner: Box<dyn MultipartUpload>,
    folder: Folder,
    location: ObjectPath,
}

#[async_trait]
impl MultipartUpload for FolderUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.folder.0.trusted()?;
        let result = self.inner.complete().await;
        self.folder.publish(&self.location, result).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::sync::atomic::AtomicU32;

    /// A folder whose `n`-th sync fails once, like a disk that drops what it could not write; and a count of the syncs.
    fn failing(root: &Path, n: u32) -> (Folder, Arc<AtomicU32>) {
        let syncs = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&syncs);
        let sync = move |_: &Path| match count.fetch_add(1, Ordering::SeqCst) {
            at if at == n => Err(io::Error::other("input/output error")),
            _ => Ok(()),
        };
        (Folder::with_sync(root, Box::new(sync)).unwrap(), syncs)
    }

    async fn create(folder: &Folder, name: &str) -> Result<PutResult> {
        let payload = PutPayload::from_bytes(Bytes::from_static(b"x"));
        folder.put_opts(&name.into(), payload, PutOptions::from(PutMode::Create)).await
    }

    #[tokio::test]
    async fn a_folder_whose_sync_failed_is_never_used_again_though_the_next_sync_would_succeed() {
        for (n, made_before) in [(0, 0), (1, 0), (2, 0), (3, 1)] {
            let dir = tempfile::tempdir().unwrap();
            let (folder, _) = failing(dir.path(), n);
            for made in 0..made_before {
                create(&folder, &format!("a/b/{made}")).await.unwrap();
            }
            create(&folder, "a/b/last").await.unwrap_err();
            assert!(dir.path().join("a/b/last").exists(), "the object is there, and that proves nothing");
            create(&folder, "a/b/next").await.unwrap_err();
            folder.get(&"a/b/last".into()).await.unwrap_err();
            folder.list(None).next().await.unwrap().unwrap_err();
            folder.list_with_delimiter(None).await.unwrap_err();
            folder.delete(&"a/b/last".into()).await.unwrap_err();
            folder.settle(&"a/b".into()).await.unwrap_err();
            let (from, to) = ("a/b/last".into(), "a/c".into());
            folder.copy(&from, &to).await.unwrap_err();
            folder.rename(&from, &to).await.unwrap_err();
            folder.put_multipart(&to).await.unwrap_err();
        }
    }

    #[tokio::test]
    async fn every_put_syncs_its_folder_and_the_first_also_those_above() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, syncs) = failing(dir.path(), u32::MAX);
        let syncs = || syncs.swap(0, Ordering::SeqCst);
        create(&folder, "a/b/1").await.unwrap();
        assert_eq!(syncs(), 3);
        create(&folder, "a/b/2").await.unwrap();
        assert_eq!(syncs(), 1);
        create(&folder, "a/b/2").await.unwrap_err();
        assert_eq!(syncs(), 0);
        folder.put(&"a/b/2".into(), "y".into()).await.unwrap();
        folder.copy(&"a/b/2".into(), &"a/b/3".into()).await.unwrap();
        folder.rename(&"a/b/3".into(), &"a/b/4".into()).await.unwrap();
        assert_eq!(syncs(), 3);
        let mut upload = folder.put_multipart(&"a/c/5".into()).await.unwrap();
        upload.put_part("z".into()).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(syncs(), 3, "the folder is new");
        folder.settle(&"a/c".into()).await.unwrap();
        folder.settle(&"not/there".into()).await.unwrap();
        assert_eq!(syncs(), 1);
    }

    #[tokio::test]
    async fn a_folder_that_goes_away_is_not_a_store_and_is_never_created_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (dir.path().join("store"), dir.path().join("elsewhere"));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let folder = Folder::open(&path).unwrap();
        let linked = Folder::open(&link).unwrap();
        create(&folder, "a/1").await.unwrap();
        let refused = async |folder: &Folder| {
            let error = create(folder, "a/2").await.unwrap_err().to_string();
            assert!(error.contains("unmounted, moved or replaced"), "{error}");
            // Nothing is reported about what is or is not there.
            let read = folder.get(&"a/1".into()).await;
            assert!(!matches!(read, Ok(_) | Err(Error::NotFound { .. })), "{read:?}");
            folder.list(None).next().await.unwrap().unwrap_err();
            folder.list_with_delimiter(None).await.unwrap_err();
            folder.settle(&"a".into()).await.unwrap_err();
            folder.delete(&"a/1".into()).await.unwrap_err();
        };
        // Moved.
        std::fs::rename(&path, &elsewhere).unwrap();
        refused(&folder).await;
        assert!(!path.exists());
        // Something else in its place, as a bare mount point is.
        std::fs::create_dir(&path).unwrap();
        refused(&folder).await;
        refused(&linked).await;
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
        std::fs::remove_dir(&path).unwrap();
        // Back again.
        std::fs::rename(&elsewhere, &path).unwrap();
        create(&folder, "a/2").await.unwrap();
        create(&linked, "a/3").await.unwrap();
        // The link leads elsewhere.
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        refused(&linked).await;
        create(&folder, "a/4").await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_put_but_its_object() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        create(&folder, "a/1").await.unwrap();
        assert!(matches!(create(&folder, "a/1").await, Err(Error::AlreadyExists { .. })));
        folder.put(&"a/1".into(), "y".into()).await.unwrap();
        let names = std::fs::read_dir(dir.path().join("a")).unwrap();
        assert_eq!(names.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(), ["1"]);
        assert_eq!(folder.get(&"a/1".into()).await.unwrap().bytes().await.unwrap(), "y");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_eight_that_replace_one_version_exactly_one_does() {
        let dir = tempfile::tempdir().unwrap();
        let folders: Vec<_> = (0..8).map(|_| Folder::open(dir.path()).unwrap()).collect();
        let path = ObjectPath::from("a/1");
        let update = async |folder: Folder, version: UpdateVersion, round: usize| {
            let payload = PutPayload::from(format!("round {round}"));
            folder.put_opts(&path, payload, PutOptions::from(PutMode::Update(version))).await
        };
        let none = UpdateVersion { e_tag: None, version: None };
        update(folders[0].clone(), none.clone(), 0).await.unwrap_err();
        create(&folders[0], "a/1").await.unwrap();
        update(folders[0].clone(), none, 0).await.unwrap_err();
        for round in 1..20 {
            let e_tag = folders[0].head(&path).await.unwrap().e_tag;
            let version = UpdateVersion { e_tag, version: None };
            let writers = folders.iter().map(|folder| update(folder.clone(), version.clone(), round));
            let results = futures::future::join_all(writers).await;
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "round {round}");
            let refused = |result: &Result<_>| matches!(result, Err(Error::Precondition { .. }));
            assert_eq!(results.iter().filter(|result| refused(result)).count(), 7, "round {round}");
        }
        assert_eq!(folders[0].list(None).count().await, 1, "the lock is not an object");
    }
}
