//! A section of the settings, declared once: the struct, its defaults, its bounds and its documentation come from the
//! same lines, so none of them can drift from the others.

/// What is known about one setting besides its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The section, named like the room that receives it.
    pub section: &'static str,
    /// The name within the section.
    pub name: &'static str,
    /// The doc comment: meaning and effect, one entry per line.
    pub doc: &'static [&'static str],
    /// The kind of value.
    pub kind: &'static str,
    /// The default, as text.
    pub default: String,
    /// The smallest allowed value, as text.
    pub min: Option<String>,
    /// The largest allowed value, as text.
    pub max: Option<String>,
    /// Whether `streamhouse.toml` quotes the value.
    pub quoted: bool,
    /// Whether nobody may be shown the value.
    pub secret: bool,
    /// The first release that knows the setting.
    pub since: &'static str,
}

impl Field {
    /// `section.name`, as `--set` and `config explain` call it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The documentation as one paragraph.
    #[must_use]
    pub fn text(&self) -> String {
        self.doc
            .iter()
            .map(|line| line.trim())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// What every section can do.
pub(crate) trait Section: Default {
    /// The name of the section in `streamhouse.toml`.
    const NAME: &'static str;
    /// The doc comment of the section, one entry per line.
    const DOC: &'static [&'static str];

    /// Its settings in reading order.
    fn fields() -> Vec<Field>;

    /// Sets one field from text; `None` when there is no such field.
    fn set(&mut self, field: &str, text: &str) -> Option<Result<(), String>>;

    /// The value of one field as text.
    fn get(&self, field: &str) -> Option<String>;
}

/// Declares a section: `field: Type = default, min .., max .., since "..";` with its documentation above.
macro_rules! section {
    (
        $(#[doc = $section_doc:literal])*
        $section:literal => $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $field:ident: $type:ty = $default:expr
                    $(, min $min:expr)? $(, max $max:expr)?, since $since:literal;
            )*
        }
    ) => {
        $(#[doc = $section_doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $crate::section::Section for $name {
            const NAME: &'static str = $section;
            const DOC: &'static [&'static str] = &[$($section_doc),*];

            fn fields() -> Vec<$crate::section::Field> {
                vec![$({
                    let default: $type = $default;
                    let min: Option<$type> = None::<$type>$(.or(Some($min)))?;
                    let max: Option<$type> = None::<$type>$(.or(Some($max)))?;
                    $crate::section::Field {
                        section: $section,
                        name: stringify!($field),
                        doc: &[$($doc),*],
                        kind: <$type as $crate::value::Value>::KIND,
                        default: $crate::value::Value::write(&default),
                        min: min.as_ref().map($crate::value::Value::write),
                        max: max.as_ref().map($crate::value::Value::write),
                        quoted: <$type as $crate::value::Value>::QUOTED,
                        secret: <$type as $crate::value::Value>::SECRET,
                        since: $since,
                    }
                }),*]
            }

            fn set(&mut self, field: &str, text: &str) -> Option<Result<(), String>> {
                match field {
                    $(stringify!($field) => {
                        let min: Option<$type> = None::<$type>$(.or(Some($min)))?;
                        let max: Option<$type> = None::<$type>$(.or(Some($max)))?;
                        let value = $crate::value::read_bounded(text, min.as_ref(), max.as_ref());
                        Some(value.map(|value| self.$field = value))
                    })*
                    _ => None,
                }
            }

            fn get(&self, field: &str) -> Option<String> {
                match field {
                    $( stringify!($field) => Some($crate::value::Value::write(&self.$field)), )*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use section;
