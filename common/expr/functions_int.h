/* Private to common/expr: the row functions of the table in functions.c, by file. */
#ifndef WEIR_EXPR_FUNCTIONS_INT_H
#define WEIR_EXPR_FUNCTIONS_INT_H

#include "expr/expr_int.h"

#define ROW_FN(name) enum fn_result name(struct call *call, const struct value *a, struct value *out)

/* string_fn.c */
ROW_FN(fn_upper);
ROW_FN(fn_lower);
ROW_FN(fn_initcap);
ROW_FN(fn_btrim);
ROW_FN(fn_ltrim);
ROW_FN(fn_rtrim);
ROW_FN(fn_char_length);
ROW_FN(fn_octet_length);
ROW_FN(fn_substring);
ROW_FN(fn_concat);
ROW_FN(fn_concat_ws);
ROW_FN(fn_replace);
ROW_FN(fn_position);
ROW_FN(fn_locate);
ROW_FN(fn_instr);
ROW_FN(fn_starts_with);
ROW_FN(fn_ends_with);
ROW_FN(fn_lpad);
ROW_FN(fn_rpad);
ROW_FN(fn_reverse);
ROW_FN(fn_repeat);
ROW_FN(fn_split_index);
ROW_FN(fn_left);
ROW_FN(fn_right);
ROW_FN(fn_ascii);
ROW_FN(fn_chr);
ROW_FN(fn_overlay);
ROW_FN(fn_translate);
ROW_FN(fn_elt);
ROW_FN(fn_is_digit);
ROW_FN(fn_is_alpha);
ROW_FN(fn_is_decimal);
/* digest_fn.c */
ROW_FN(fn_md5);
ROW_FN(fn_sha1);
ROW_FN(fn_sha224);
ROW_FN(fn_sha256);
ROW_FN(fn_sha384);
ROW_FN(fn_sha512);
ROW_FN(fn_sha2);
ROW_FN(fn_to_base64);
ROW_FN(fn_from_base64);
ROW_FN(fn_encode);
ROW_FN(fn_decode);
ROW_FN(fn_hex_int);
ROW_FN(fn_hex_bytes);
ROW_FN(fn_unhex);
ROW_FN(fn_bin);
/* math_fn.c */
ROW_FN(fn_abs);
ROW_FN(fn_ceil);
ROW_FN(fn_floor);
ROW_FN(fn_round);
ROW_FN(fn_truncate);
ROW_FN(fn_power);
ROW_FN(fn_log);
ROW_FN(fn_sign);
ROW_FN(fn_greatest);
ROW_FN(fn_least);
ROW_FN(fn_atan2);
ROW_FN(fn_pi);
ROW_FN(fn_e);
double math_cot(double x);
double math_degrees(double x);
double math_radians(double x);
/* time_fn.c */
ROW_FN(fn_extract);
ROW_FN(fn_floor_to);
ROW_FN(fn_ceil_to);
ROW_FN(fn_date_format);
ROW_FN(fn_to_timestamp);
ROW_FN(fn_to_timestamp_ltz);
ROW_FN(fn_double_to_timestamp_ltz);
ROW_FN(fn_text_to_timestamp_ltz);
ROW_FN(fn_to_date);
ROW_FN(fn_unix_timestamp);
ROW_FN(fn_from_unixtime);
ROW_FN(fn_timestamp_add);
ROW_FN(fn_timestamp_diff);

#endif
