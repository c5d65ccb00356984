//! Large contents, each in a file of its own, named by its message. The file is durable before the
//! record that commits it; a file without a live message is an orphan and goes at the next start.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::MessageId;
use crate::disk::{Disk, read_full, write_all};

/// The file of a message's content.
pub(crate) fn path(directory: &Path, id: MessageId) -> PathBuf {
    directory.join(id.to_string())
}

/// A written file that goes again unless it is kept.
#[derive(Debug)]
pub(crate) struct ContentFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    kept: bool,
}

impl ContentFile {
    /// Writes a content and makes it durable.
    pub(crate) fn write(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        id: MessageId,
        content: &[Bytes],
    ) -> io::Result<Self> {
        let path = path(directory, id);
        let file = disk.create(&path)?;
        // From here on a failure removes what was made, and not what another made before.
        let guard = Self {
            disk: disk.clone(),
            path,
            kept: false,
        };
        let mut pieces: Vec<IoSlice<'_>> =
            content.iter().map(|piece| IoSlice::new(piece)).collect();
        write_all(&*file, &mut pieces, 0)?;
        file.sync()?;
        disk.sync_directory(directory)?;
        Ok(guard)
    }

    /// Its record is durable: it stays.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for ContentFile {
    fn drop(&mut self) {
        if !self.kept {
            // If it cannot be removed it is an orphan, which the next start removes.
            let _ = self.disk.remove(&self.path);
        }
    }
}

/// Reads a content whole.
pub(crate) fn read(
    disk: &dyn Disk,
    directory: &Path,
    id: MessageId,
    length: u32,
) -> io::Result<Vec<u8>> {
    let file = disk.open(&path(directory, id))?;
    let mut content = vec![0; length as usize];
    let read = read_full(&*file, &mut content, 0)?;
    content.truncate(read);
    Ok(content)
}
