//! Files, folders and standard input → texts.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// One text to work on.
#[derive(Debug)]
pub(crate) struct Source {
    /// As people are told of it.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Why an input cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot be read ({cause}); name a file, a folder or - for standard input")]
    Unreadable { name: String, cause: io::Error },
    #[error("is not UTF-8 text (byte {at}); save it as UTF-8")]
    NotText { name: String, at: usize },
    #[error("holds no file that ends in .yaml, .yml or .json; name another folder, or add --recursive for its folders")]
    Empty { name: String },
    #[error("can be read only once; name it once")]
    Twice,
}

impl Error {
    /// The input's name and the sentence about it.
    pub(crate) fn parts(&self) -> (String, String) {
        let name = match self {
            Self::Unreadable { name, .. } | Self::NotText { name, .. } | Self::Empty { name } => name,
            Self::Twice => "standard input",
        };
        (name.to_owned(), self.to_string())
    }
}

/// Reads what was named, folders in the order of their file names.
pub(crate) fn read(names: &[PathBuf], recursive: bool) -> Result<Vec<Source>, Error> {
    let mut sources = Vec::new();
    let mut stdin_read = false;
    for name in names {
        if name.as_os_str() == "-" {
            if std::mem::replace(&mut stdin_read, true) {
                return Err(Error::Twice);
            }
            let mut bytes = Vec::new();
            let read = io::stdin().lock().read_to_end(&mut bytes);
            read.map_err(|cause| Error::Unreadable { name: "standard input".to_owned(), cause })?;
            sources.push(source("standard input".to_owned(), bytes)?);
        } else if name.is_dir() {
            let mut files = Vec::new();
            list(name, recursive, &mut files)?;
            if files.is_empty() {
                return Err(Error::Empty { name: name.display().to_string() });
            }
            for file in files {
                sources.push(file_source(&file)?);
            }
        } else {
            sources.push(file_source(name)?);
        }
    }
    Ok(sources)
}

fn list(folder: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let unreadable = |cause| Error::Unreadable { name: folder.display().to_string(), cause };
    let entries = fs::read_dir(folder).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        // A link to a folder is not followed: it may lead back here.
        if path.is_dir() {
            if recursive && !path.is_symlink() {
                list(&path, recursive, files)?;
            }
        } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| matches!(e, "yaml" | "yml" | "json")) {
            files.push(path);
        }
    }
    Ok(())
}

fn file_source(path: &Path) -> Result<Source, Error> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|cause| Error::Unreadable { name: name.clone(), cause })?;
    source(name, bytes)
}

fn source(name: String, bytes: Vec<u8>) -> Result<Source, Error> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { name, text }),
        Err(error) => Err(Error::NotText { name, at: error.utf8_error().valid_up_to() + 1 }),
    }
}
