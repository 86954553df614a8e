"""Stubs of the OSS Android SDK 2.9.20, with its signatures, to compile recipes against.

Each class has only the members that the recipes use.  org.json is that of Android,
whose JSONException has to be caught.
"""

STUBS = {
    "android/content/Context.java": "package android.content; public class Context {}",
    "org/json/JSONException.java": """
        package org.json;
        public class JSONException extends Exception {}
    """,
    "org/json/JSONObject.java": """
        package org.json;
        public class JSONObject {
            public JSONObject(String json) throws JSONException {}
            public int getInt(String name) throws JSONException { return 0; }
            public String getString(String name) throws JSONException { return null; }
        }
    """,
    "com/alibaba/sdk/android/oss/ClientException.java": """
        package com.alibaba.sdk.android.oss;
        public class ClientException extends Exception {
            public ClientException(String message) {}
            public ClientException(Throwable cause) {}
        }
    """,
    "com/alibaba/sdk/android/oss/ServiceException.java": """
        package com.alibaba.sdk.android.oss;
        public class ServiceException extends Exception {}
    """,
    "com/alibaba/sdk/android/oss/signer/SignVersion.java": """
        package com.alibaba.sdk.android.oss.signer;
        public enum SignVersion { V1, V4 }
    """,
    "com/alibaba/sdk/android/oss/ClientConfiguration.java": """
        package com.alibaba.sdk.android.oss;
        import com.alibaba.sdk.android.oss.signer.SignVersion;
        public class ClientConfiguration {
            public void setSignVersion(SignVersion signVersion) {}
        }
    """,
    "com/alibaba/sdk/android/oss/common/auth/OSSCredentialProvider.java": """
        package com.alibaba.sdk.android.oss.common.auth;
        import com.alibaba.sdk.android.oss.ClientException;
        public interface OSSCredentialProvider {
            OSSFederationToken getFederationToken() throws ClientException;
        }
    """,
    "com/alibaba/sdk/android/oss/common/auth/OSSFederationToken.java": """
        package com.alibaba.sdk.android.oss.common.auth;
        public class OSSFederationToken {
            public OSSFederationToken(String ak, String sk, String token, String end) {}
            public OSSFederationToken(String ak, String sk, String token, long end) {}
        }
    """,
    "com/alibaba/sdk/android/oss/common/auth/OSSFederationCredentialProvider.java": """
        package com.alibaba.sdk.android.oss.common.auth;
        import com.alibaba.sdk.android.oss.ClientException;
        public abstract class OSSFederationCredentialProvider
                implements OSSCredentialProvider {
            public abstract OSSFederationToken getFederationToken()
                throws ClientException;
        }
    """,
    "com/alibaba/sdk/android/oss/common/auth/OSSAuthCredentialsProvider.java": """
        package com.alibaba.sdk.android.oss.common.auth;
        import com.alibaba.sdk.android.oss.ClientException;
        public class OSSAuthCredentialsProvider
                extends OSSFederationCredentialProvider {
            public OSSAuthCredentialsProvider(String authServerUrl) {}
            public void setAuthServerUrl(String authServerUrl) {}
            public OSSFederationToken getFederationToken() throws ClientException {
                return null;
            }
        }
    """,
    "com/alibaba/sdk/android/oss/common/utils/IOUtils.java": """
        package com.alibaba.sdk.android.oss.common.utils;
        import java.io.IOException;
        import java.io.InputStream;
        public class IOUtils {
            public static String readStreamAsString(InputStream in, String charset)
                    throws IOException {
                return null;
            }
            public static byte[] readStreamAsBytesArray(InputStream in)
                    throws IOException {
                return null;
            }
        }
    """,
    "com/alibaba/sdk/android/oss/model/PutObjectResult.java": """
        package com.alibaba.sdk.android.oss.model;
        public class PutObjectResult {}
    """,
    "com/alibaba/sdk/android/oss/model/PutObjectRequest.java": """
        package com.alibaba.sdk.android.oss.model;
        public class PutObjectRequest {
            public PutObjectRequest(String bucket, String key, String filePath) {}
            public PutObjectRequest(String bucket, String key, byte[] data) {}
        }
    """,
    "com/alibaba/sdk/android/oss/model/GetObjectResult.java": """
        package com.alibaba.sdk.android.oss.model;
        import java.io.InputStream;
        public class GetObjectResult {
            public InputStream getObjectContent() { return null; }
        }
    """,
    "com/alibaba/sdk/android/oss/model/GetObjectRequest.java": """
        package com.alibaba.sdk.android.oss.model;
        public class GetObjectRequest {
            public GetObjectRequest(String bucket, String key) {}
        }
    """,
    "com/alibaba/sdk/android/oss/OSSClient.java": """
        package com.alibaba.sdk.android.oss;
        import android.content.Context;
        import com.alibaba.sdk.android.oss.common.auth.OSSCredentialProvider;
        import com.alibaba.sdk.android.oss.model.*;
        public class OSSClient {
            public OSSClient(Context context, String endpoint,
                    OSSCredentialProvider provider, ClientConfiguration conf) {}
            public void setRegion(String region) {}
            public void updateCredentialProvider(OSSCredentialProvider provider) {}
            public PutObjectResult putObject(PutObjectRequest request)
                    throws ClientException, ServiceException {
                return null;
            }
            public GetObjectResult getObject(GetObjectRequest request)
                    throws ClientException, ServiceException {
                return null;
            }
        }
    """,
}

IMPORTS = """
import android.content.Context;
import com.alibaba.sdk.android.oss.*;
import com.alibaba.sdk.android.oss.common.auth.*;
import com.alibaba.sdk.android.oss.common.utils.IOUtils;
import com.alibaba.sdk.android.oss.model.*;
import com.alibaba.sdk.android.oss.signer.SignVersion;
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.URL;
import org.json.*;
"""
# What an app has beside the recipe
FIELDS = """
    Context context;
    String loginToken, newLoginToken, otherLoginToken, file;
    String bucket, region, endpoint, dir;
    String loginToken() { return loginToken; }
"""


def app(*recipes: str) -> str:
    """Return a class App with one method for each of *recipes*."""
    methods = "".join(
        f"    void recipe{number}() throws Exception {{\n{recipe}\n    }}\n"
        for number, recipe in enumerate(recipes)
    )
    return f"{IMPORTS}\nclass App {{{FIELDS}{methods}}}\n"
