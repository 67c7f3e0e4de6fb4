/* What libFuzzer made up, taken apart: reads beyond its end give zeros. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
    const uint8_t *at;
    size_t left;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void input_take(struct input *input, void *target, size_t size)
{
    size_t here = size < input->left ? size : input->left;
    memset(target, 0, size);
    memcpy(target, input->at, here);
    input->at += here;
    input->left -= here;
}

static inline uint8_t input_8(struct input *input)
{
    uint8_t value;
    input_take(input, &value, sizeof value);
    return value;
}

static inline uint16_t input_16(struct input *input)
{
    uint16_t value;
    input_take(input, &value, sizeof value);
    return value;
}

static inline uint32_t input_32(struct input *input)
{
    uint32_t value;
    input_take(input, &value, sizeof value);
    return value;
}

static inline uint64_t input_64(struct input *input)
{
    uint64_t value;
    input_take(input, &value, sizeof value);
    return value;
}

#endif
