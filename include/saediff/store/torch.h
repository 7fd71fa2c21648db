/* PyTorch's .bin, .pt and .pth files: a zip archive with a pickle and raw storages. The pickle is read by an interpreter that builds data
 * and executes nothing: dictionaries, lists and tensors; any other object in it is refused by its name. Tensors of nested dictionaries
 * have their keys joined by dots; what is no tensor, and what stands in a list, is left out. Every offset, stride and size is checked against the archive before use.
 * Files older than PyTorch 1.6 (no zip) and big-endian ones are refused. Local. */
#ifndef SAEDIFF_STORE_TORCH_H
#define SAEDIFF_STORE_TORCH_H

#include "saediff/store/safetensors.h"

typedef struct sd_torch sd_torch;

/* Errors name the file, and byte of the pickle or tensor. */
SD_MUST_CHECK sd_status sd_torch_open(sd_torch **file, const char *path);
void sd_torch_close(sd_torch **file);

uint64_t sd_torch_count(const sd_torch *file);
/* In the order of the pickle. `offset` is the first element's byte in its storage, `bytes` those of all elements. */
const sd_tensor *sd_torch_at(const sd_torch *file, uint64_t i);

/* As sd_safetensors_read(): the whole tensor, row-major whatever its strides. tensor is one of sd_torch_at(). */
SD_MUST_CHECK sd_status sd_torch_read(sd_torch *file, const sd_tensor *tensor, sd_dtype type, void *out);

#endif
