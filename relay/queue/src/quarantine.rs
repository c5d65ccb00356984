//! Where damaged octets go: a copy in `quarantine/`, named by segment, offset and checksum, so that
//! the same damage found again makes no second file. Nothing here is ever deleted by the queue.

use std::io::{self, IoSlice};

use crate::MessageId;
use crate::content;
use crate::disk::{Disk, read_full, write_all};
use crate::segment;
use crate::shared::Directories;

/// Copies a range of a segment; says whether it was new.
pub(crate) fn set_aside(
    disk: &dyn Disk,
    directories: &Directories,
    segment: u32,
    offset: u64,
    length: u64,
) -> io::Result<bool> {
    let file = match disk.open(&segment::path(&directories.log, segment)) {
        Ok(file) => file,
        // Nothing to save.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let available = file.length()?.saturating_sub(offset).min(length);
    let mut octets = vec![0; usize::try_from(available).unwrap_or(usize::MAX)];
    let read = read_full(&*file, &mut octets, offset)?;
    octets.truncate(read);
    let crc = crc32fast::hash(&octets);
    let name = format!("{segment:010}-{offset:010}-{crc:08x}.record");
    save(disk, directories, &name, &octets)
}

/// Moves the file of a content that cannot be used; fine if there is none.
pub(crate) fn set_content_aside(
    disk: &dyn Disk,
    directories: &Directories,
    id: MessageId,
) -> io::Result<()> {
    let to = directories.quarantine.join(format!("{id}.content"));
    match disk.rename(&content::path(&directories.content, id), &to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn save(disk: &dyn Disk, directories: &Directories, name: &str, octets: &[u8]) -> io::Result<bool> {
    let path = directories.quarantine.join(name);
    let file = match disk.create(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = disk.open(&path)?;
            if file.length()? == octets.len() as u64 {
                return Ok(false);
            }
            file
        }
        Err(error) => return Err(error),
    };
    write_all(&*file, &mut [IoSlice::new(octets)], 0)?;
    file.sync()?;
    disk.sync_directory(&directories.quarantine)?;
    Ok(true)
}
