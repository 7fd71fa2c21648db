/* Number types that files and device buffers hold, and half-open ranges. */
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
    SD_DTYPES
} sd_dtype;

/* Bytes of one element. */
size_t sd_dtype_size(sd_dtype type);
/* "f32", "bf16", ... */
const char *sd_dtype_name(sd_dtype type);
/* f32, f64, f16 and bf16. */
bool sd_dtype_is_float(sd_dtype type);
/* The type called `name`; false if there is none. */
bool sd_dtype_parse(const char *name, sd_dtype *type);

/* bf16 and IEEE fp16, as bits. Rounding is to nearest, ties to even; NaN stays NaN;
 * values beyond fp16's range become infinite. */
uint16_t sd_bf16_from_f32(float value);
float sd_f32_from_bf16(uint16_t bits);
uint16_t sd_f16_from_f32(float value);
float sd_f32_from_f16(uint16_t bits);

/* Converts `count` elements from one floating type to another. */
void sd_convert(void *to, sd_dtype to_type, const void *from, sd_dtype from_type, uint64_t count);

typedef struct sd_span {
    uint64_t first, count; /* elements first, first + 1, ... first + count - 1 */
} sd_span;

/* The elements both spans have; count 0 where they do not meet. */
sd_span sd_span_meet(sd_span a, sd_span b);

#endif
