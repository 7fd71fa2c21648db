/* Shared by the readers of config.json. */
#ifndef SAEDIFF_MODEL_CONFIG_PRIVATE_H
#define SAEDIFF_MODEL_CONFIG_PRIVATE_H

#include "saediff/model/config.h"
#include "saediff/store/json.h"

/* SD_E_DATA: names member `key` (at `item`), its value, and what is supported. */
SD_MUST_CHECK sd_status sd_config_refuse(const sd_json *json, const cJSON *item, const char *key, const char *found,
                                         const char *know);
/* Whether the member is present and not null. */
bool sd_config_has(const cJSON *item);

/* rope_theta, rope_scaling and rope_parameters; sizes and context of `c` are set. */
SD_MUST_CHECK sd_status sd_config_read_rotary(sd_model_config *c, const sd_json *json);

#endif
