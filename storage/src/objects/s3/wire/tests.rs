//! What is repeated of a store's answers, and what is not.

use super::{TEXT_CHARS_MAX, code, said};

#[test]
fn a_session_token_that_a_store_repeats_is_not_shown() {
    let text = "<Error><Code>SignatureDoesNotMatch</Code><Message>Check your key.</Message>\
        <CanonicalRequest>x-amz-security-token:FwoGZXIvYXdzEBYaD</CanonicalRequest>\
        <Region>eu-west-1</Region></Error>";
    assert_eq!(code(text), "SignatureDoesNotMatch");
    assert_eq!(
        said(text),
        "SignatureDoesNotMatch, Check your key., eu-west-1"
    );
}

#[test]
fn what_is_no_error_of_s3_is_shown_in_part() {
    let page = "<html>Bad gateway</html>";
    assert_eq!((code(page), said(page).as_str()), ("", page));
    assert_eq!(said(&"x".repeat(5_000)).len(), TEXT_CHARS_MAX);
    assert_eq!(said(""), "");
}
