// SPDX-License-Identifier: Apache-2.0
#include "builder/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
