//! Distinguishes errors in the values of a statement from errors of the database.

use crate::StoreError;

pub(crate) fn is_refusal(sqlite: bool, error: &StoreError) -> bool {
    let StoreError::Sql(sqlx::Error::Database(error)) = error else {
        return false;
    };
    let Some(code) = error.code() else {
        return false;
    };
    if sqlite {
        // TOOBIG, CONSTRAINT, MISMATCH and RANGE; further bits give the details.
        let code = code.parse().unwrap_or(0_u32) & 0xff;
        matches!(code, 18 | 19 | 20 | 25)
    } else {
        // Data exception, integrity violation, program limit (a key too long for its index).
        ["22", "23", "54"]
            .iter()
            .any(|class| code.starts_with(class))
    }
}
