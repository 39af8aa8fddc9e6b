//! `.proto` files and descriptor sets to message descriptors.

use std::sync::Arc;

use prost_reflect::{DescriptorPool, MessageDescriptor};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use crate::codec::CodecError;

/// The name that the schema itself has among its files.
const MAIN: &str = "schema.proto";

/// A compiled schema: one file, and those that it imports.
#[derive(Debug, Clone)]
pub struct ProtobufSchema {
    pool: DescriptorPool,
    /// The name of the schema's own file; None for a set of files.
    main: Option<String>,
}

impl ProtobufSchema {
    /// Compiles the text of a `.proto` file. `imports` are the files that it imports, directly or
    /// not, by the names that it imports them by; those of `google/protobuf` are known.
    ///
    /// # Errors
    /// [`CodecError::Schema`] if a file is not valid, or an import is missing.
    pub fn compile(text: &str, imports: &[(String, Arc<str>)]) -> Result<Self, CodecError> {
        let problem = |error: String| CodecError::Schema { format: "Protobuf", problem: error };
        let mut files = ChainFileResolver::new();
        files.add(Texts {
            main: text.to_owned(),
            imports: imports.iter().map(|(name, text)| (name.clone(), text.to_string())).collect(),
        });
        files.add(GoogleFileResolver::new());
        let mut compiler = protox::Compiler::with_file_resolver(files);
        compiler.include_imports(true);
        compiler.open_file(MAIN).map_err(|error| problem(error.to_string()))?;
        Ok(Self { pool: compiler.descriptor_pool(), main: Some(MAIN.to_owned()) })
    }

    /// Reads a `FileDescriptorSet`, as `protoc --include_imports --descriptor_set_out` writes it.
    ///
    /// # Errors
    /// [`CodecError::Schema`] if it is not one, or not complete.
    pub fn from_descriptor_set(bytes: &[u8]) -> Result<Self, CodecError> {
        let pool = DescriptorPool::decode(bytes).map_err(|error| CodecError::Schema {
            format: "Protobuf",
            problem: error.to_string(),
        })?;
        Ok(Self { pool, main: None })
    }

    /// The message with that full name, or the only one that ends with it (`Order` for
    /// `shop.v1.Order`).
    ///
    /// # Errors
    /// [`CodecError::Schema`] with the names there are.
    pub fn message(&self, name: &str) -> Result<MessageDescriptor, CodecError> {
        if let Some(message) = self.pool.get_message_by_name(name) {
            return Ok(message);
        }
        let own = |message: &MessageDescriptor| {
            let file = message.parent_file();
            !message.is_map_entry()
                && self.main.as_deref().is_none_or(|main| file.name() == main)
                && !file.name().starts_with("google/protobuf/")
        };
        let mut alike = self.pool.all_messages().filter(|message| message.name() == name);
        if let (Some(message), None) = (alike.next(), alike.next()) {
            return Ok(message);
        }
        let names: Vec<String> = (self.pool.all_messages())
            .filter(own)
            .map(|message| message.full_name().to_owned())
            .collect();
        let problem = format!("no message \"{name}\" (there are: {})", names.join(", "));
        Err(CodecError::Schema { format: "Protobuf", problem })
    }

    /// The message that Confluent's framing names by its place: the index of the outermost message
    /// in the file, then of each one within it.
    pub(super) fn by_indexes(&self, indexes: &[usize]) -> Option<MessageDescriptor> {
        let file = self.pool.get_file_by_name(self.main.as_deref()?)?;
        let (first, rest) = indexes.split_first()?;
        let mut message = file.messages().nth(*first)?;
        for index in rest {
            let child = message.child_messages().nth(*index)?;
            message = child;
        }
        Some(message)
    }
}

/// Files that are there as texts.
struct Texts {
    main: String,
    imports: Vec<(String, String)>,
}

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        // An import of the same name would hide the schema itself.
        let text = match name {
            MAIN => &self.main,
            _ => match self.imports.iter().find(|(known, _)| known == name) {
                Some((_, text)) => text,
                None => return Err(protox::Error::file_not_found(name)),
            },
        };
        File::from_source(name, text)
    }
}
