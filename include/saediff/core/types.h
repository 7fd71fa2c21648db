/* Element types of files and device buffers, conversions between floating-point types, and index ranges. All
 * Local; nothing allocates or fails. */
#ifndef SAEDIFF_CORE_TYPES_H
#define SAEDIFF_CORE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sd_dtype {
    SD_F32 = 0,
    SD_F64,
    SD_F16,
    SD_BF16,
    SD_I32,
    SD_U32,
    SD_I64,
    SD_U64,
    SD_U8,
    SD_DTYPES /* how many there are */
} sd_dtype;

/* Bytes of one element. */
size_t sd_dtype_size(sd_dtype type);
/* "f32", "bf16", ... */
const char *sd_dtype_name(sd_dtype type);
/* True for f32, f64, f16 and bf16. */
bool sd_dtype_is_float(sd_dtype type);
/* *type = the type called `name` (as sd_dtype_name() gives it); false, with *type unchanged, if there is
 * none. */
bool sd_dtype_parse(const char *name, sd_dtype *type);

/* bf16 and IEEE 754 binary16, as bit patterns. Rounding is to nearest, ties to even; NaN stays NaN;
 * values beyond the range of fp16 become infinite. */
uint16_t sd_bf16_from_f32(float value);
float sd_f32_from_bf16(uint16_t bits);
uint16_t sd_f16_from_f32(float value);
float sd_f32_from_f16(uint16_t bits);

/* Converts `count` elements from one floating-point type to another; f64 to f16 or bf16 is rounded to f32
 * first. `to` and `from` must not overlap unless the types are equal. */
void sd_convert(void *to, sd_dtype to_type, const void *from, sd_dtype from_type, uint64_t count);

typedef struct sd_span {
    uint64_t first, count; /* the indices first … first + count − 1 */
} sd_span;

/* The indices in both spans; count 0 if there are none. */
sd_span sd_span_intersect(sd_span a, sd_span b);

#endif
