#include "saediff/core/types.h"

#include <string.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[SD_DTYPES] = {
    [SD_F32] = {"f32", 4},   [SD_F64] = {"f64", 8}, [SD_F16] = {"f16", 2},
    [SD_BF16] = {"bf16", 2}, [SD_I32] = {"i32", 4}, [SD_U32] = {"u32", 4},
    [SD_I64] = {"i64", 8},   [SD_U64] = {"u64", 8}, [SD_U8] = {"u8", 1},
};

size_t sd_dtype_size(sd_dtype type)
{
    return dtypes[type].size;
}

const char *sd_dtype_name(sd_dtype type)
{
    return dtypes[type].name;
}

bool sd_dtype_is_float(sd_dtype type)
{
    return type == SD_F32 || type == SD_F64 || type == SD_F16 || type == SD_BF16;
}

bool sd_dtype_parse(const char *name, sd_dtype *type)
{
    for (int i = 0; i < SD_DTYPES; i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            *type = (sd_dtype)i;
            return true;
        }
    return false;
}

static uint32_t f32_bits(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float f32_of(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t sd_bf16_from_f32(float value)
{
    uint32_t bits = f32_bits(value);

    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u); /* quiet NaN; rounding could turn it into infinity */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

float sd_f32_from_bf16(uint16_t bits)
{
    return f32_of((uint32_t)bits << 16);
}

uint16_t sd_f16_from_f32(float value)
{
    uint32_t bits = f32_bits(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    uint32_t result;

    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) /* rounds to 2^16 or above */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) {
        /* Below 2^-14: adding 0.5 lets the hardware round to a multiple of 2^-24. */
        result = f32_bits(f32_of(magnitude) + 0.5f) - 0x3f000000u;
        return (uint16_t)(sign | result);
    }
    result = magnitude - 0x38000000u; /* exponent bias 127 to 15 */
    result += 0xfffu + (result >> 13 & 1u);
    return (uint16_t)(sign | result >> 13);
}

float sd_f32_from_f16(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, exponent = bits >> 10 & 0x1fu, mantissa = bits & 0x3ffu;

    if (exponent == 0x1f)
        return f32_of(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) {
        float magnitude = (float)mantissa * 0x1p-24f;

        return sign ? -magnitude : magnitude;
    }
    return f32_of(sign | (exponent + 112u) << 23 | mantissa << 13);
}

static double load(const void *from, sd_dtype type, uint64_t i)
{
    switch (type) {
    case SD_F64:
        return ((const double *)from)[i];
    case SD_F16:
        return (double)sd_f32_from_f16(((const uint16_t *)from)[i]);
    case SD_BF16:
        return (double)sd_f32_from_bf16(((const uint16_t *)from)[i]);
    default:
        return (double)((const float *)from)[i];
    }
}

static void store(void *to, sd_dtype type, uint64_t i, double value)
{
    switch (type) {
    case SD_F64:
        ((double *)to)[i] = value;
        break;
    case SD_F16:
        ((uint16_t *)to)[i] = sd_f16_from_f32((float)value);
        break;
    case SD_BF16:
        ((uint16_t *)to)[i] = sd_bf16_from_f32((float)value);
        break;
    default:
        ((float *)to)[i] = (float)value;
    }
}

void sd_convert(void *to, sd_dtype to_type, const void *from, sd_dtype from_type, uint64_t count)
{
    if (to_type == from_type) {
        memmove(to, from, count * sd_dtype_size(to_type));
    } else if (to_type == SD_BF16 && from_type == SD_F32) {
        for (uint64_t i = 0; i < count; i++)
            ((uint16_t *)to)[i] = sd_bf16_from_f32(((const float *)from)[i]);
    } else if (to_type == SD_F32 && from_type == SD_BF16) {
        for (uint64_t i = 0; i < count; i++)
            ((float *)to)[i] = sd_f32_from_bf16(((const uint16_t *)from)[i]);
    } else {
        for (uint64_t i = 0; i < count; i++)
            store(to, to_type, i, load(from, from_type, i));
    }
}

sd_span sd_span_intersect(sd_span a, sd_span b)
{
    uint64_t first = a.first > b.first ? a.first : b.first;
    uint64_t end_a = a.first + a.count, end_b = b.first + b.count, end = end_a < end_b ? end_a : end_b;
    sd_span both = {first, end > first ? end - first : 0};

    return both;
}
